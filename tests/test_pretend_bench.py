"""What the bench does on a GPU, on a pretended one; ESPnet's own searches and trainer, which it does not know, stand aside."""

from dataclasses import replace

import pytest
import torch

from cycle.bench import exchange, train
from cycle.fabric import Fabric
from cycle.models import stock
from cycle.models.espnet import ESPnetASRModel
from cycle.settings import Search
from cycle.use import open_finished
from tests.pretend_device import DEVICE, device
from tests.pretend_graphs import Tape, graphs

pytestmark = pytest.mark.all


@pytest.fixture
def pretended(finished, monkeypatch):
    on_host = torch.Generator
    monkeypatch.setattr(Fabric, "device", property(lambda self: DEVICE))
    monkeypatch.setattr(torch, "Generator", lambda device=None: on_host())
    return open_finished(finished)


@pytest.mark.parametrize("replayed", [False, True])
def test_training_is_measured_on_a_device(pretended, monkeypatch, replayed):
    monkeypatch.setattr(stock, "train_epoch", lambda model, optimizer, batches, where: [model(utts, **given) for utts, given in batches])
    monkeypatch.setattr(stock, "inputs", lambda model, batch: ([], {}))
    for kind in (ESPnetASRModel, stock.Bare):
        monkeypatch.setattr(kind, "forward", lambda *_, **given: (torch.tensor(2.0), {}, None))
    exp = replace(pretended, config=replace(pretended.config, graphs=replayed))
    with device() as seen, graphs(seen):
        played = Tape.replays
        result = dict(train.measure(exp, 4))
    assert Tape.replays - played > 16  # forward and backward
    for part in ("asr", "tts"):
        rows = result[part]["rows"]
        assert list(rows) == ["ESPnet's trainer", "ours", train.REPLAYED] and all(row["first"] > 0 for row in rows.values())
        assert rows["ours"]["losses"] == pytest.approx(rows[train.REPLAYED]["losses"], rel=0.01) and rows["ours"]["floor"] > 0
        assert result[part]["ratio"] == rows[train.REPLAYED if replayed else "ours"]["ratio"]
    assert result["cycle"]["over_parts"] > 0


def test_the_exchange_is_measured_on_a_device(pretended, monkeypatch):
    monkeypatch.setattr(stock, "transcribe_each", lambda model, mels: [""] * len(mels))
    monkeypatch.setattr(stock, "transcribe_batch", lambda model, mels: [""] * len(mels))
    monkeypatch.setattr(stock, "synthesize_each", lambda folder, where: lambda texts, vectors: [torch.zeros(50, 80) for _ in texts])
    monkeypatch.setattr(exchange, "_heard", lambda *given: 0.5)
    monkeypatch.setattr(exchange, "Search", lambda method, **given: Search("attention" if method == "joint" else method))
    with device():
        result = dict(exchange.measure(pretended, 8))
    rows = list(result["asr"]["rows"].values())
    assert rows[3]["error"] == result["asr"]["error"] < 1 and rows[3]["floor"] > 0
    assert list(result["tts"]["rows"].values())[1]["floor"] > 0
