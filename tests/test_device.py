"""Which device is taken, and how it multiplies."""

import contextlib
import importlib
import sys
from types import ModuleType

import pytest
import torch

from cycle import device
from cycle.errors import UserError
from cycle.log import log


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(device, "DRIVERS", ())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_what_is_fetched_is_waited_for_when_it_is_wanted(monkeypatch):
    """Of a GPU: copies that do not block, behind all of them a mark, and only the call waits for it."""
    done = []

    class Far:
        device = torch.device("cuda:1")

        def to(self, where, non_blocking=False):
            done.append((where, non_blocking))
            return "here"

    class Stream:
        def __init__(self, place):
            done.append(place)

        def record_event(self):
            done.append("mark")
            return self

        def synchronize(self):
            done.append("wait")

    @contextlib.contextmanager
    def on(place):
        done.append(("on", place))
        yield

    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "device", on)
    later = device.fetch(Far(), Far())
    assert done == [("cpu", True), ("cpu", True), Far.device, "mark"]
    assert later() == ["here", "here"] and done[4:] == [("on", Far.device), "wait"]
    near = torch.ones(2)
    assert device.fetch(near)()[0] is near


@pytest.fixture
def products():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(("works", "taken"), [(True, "cuda"), (False, "cpu")])
@pytest.mark.parametrize("sign", ["file", "variable"])
def test_auto_asks_torch_where_a_driver_shows(no_driver, monkeypatch, tmp_path, caplog, sign, works, taken):
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: works)
    assert device.resolve("auto") == "cpu"  # nobody was asked: that would cost seconds
    if sign == "file":
        monkeypatch.setattr(device, "DRIVERS", (str(tmp_path / "none"), str(tmp_path)))
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert device.resolve("auto") == taken and device.resolve("cpu") == "cpu"
    assert ("cannot use it: going on with the CPU" in caplog.text) == (sign == "file" and not works)


def test_a_gpu_that_was_asked_for_must_be_there(no_driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU was found"):
        device.resolve("cuda")


def test_scores_are_exact_and_training_is_not(products):
    device.set_products("cuda", exact=False)
    assert products() == ("high", True)
    device.set_products("cuda", exact=True)
    assert products() == ("highest", False)
    device.set_products("cpu", exact=False)
    assert products() == ("highest", False)  # a CPU has nothing to set


@pytest.mark.parametrize(("precision", "exact"), [("exact", True), ("32", False), ("bf16", False)])
def test_a_fabric_says_how(monkeypatch, precision, exact):
    said = []
    monkeypatch.setattr(device, "set_products", lambda name, exact: said.append((name, exact)))
    assert device.fabric("cpu", precision).device.type == "cpu"
    assert said == [("cpu", exact)]


def test_the_whole_of_lightning_serves_too(monkeypatch):
    import lightning_fabric
    from lightning_fabric.strategies import ddp

    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.fabric", lightning_fabric)
    monkeypatch.setitem(sys.modules, "lightning.fabric.strategies.ddp", ddp)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)  # not installed
    monkeypatch.setitem(sys.modules, "cycle.fabric", None)
    del sys.modules["cycle.fabric"]
    found = importlib.import_module("cycle.fabric")
    assert found.Fabric is lightning_fabric.Fabric and found.DDPStrategy is ddp.DDPStrategy
