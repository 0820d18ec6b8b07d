"""What some work asks of a device, counted by hand."""

import random

import pytest
import torch

from cycle.bench import floor, table
from cycle.bench.floor import Ceiling, Work, ceiling, counted, covered, timed


def test_operations_and_bytes_by_hand():
    a, b, bias = torch.ones(2, 3), torch.ones(3, 5), torch.ones(5)
    assert counted(lambda: a @ b) == Work(2 * 2 * 3 * 5, 4 * (6 + 15 + 10))
    assert counted(lambda: (a @ b) + bias) == Work(60, 4 * (6 + 15 + 10) + 4 * (10 + 5 + 10))
    assert counted(lambda: a.t().reshape(3, 2)[0]).operations == 0
    assert counted(lambda: a.view(3, 2)[0]) == Work(0, 0)  # views move nothing
    assert counted(lambda: a.half().add_(1)).bytes == 4 * 6 + 2 * 6 + 2 * 6 * 2  # read and write, in place too


def test_the_backward_pass_counts_too():
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5, requires_grad=True)
    assert counted(lambda: (a @ b).sum().backward()).operations == 3 * 60


def test_seconds_of_products_and_of_traffic():
    assert Ceiling(operations=10, bytes=5).row(Work(100, 20)) == {"floor": 10, "traffic": 4}
    assert Ceiling(operations=10, bytes=5).row(Work(100, 20), times=0.5) == {"floor": 5, "traffic": 2}


def test_a_ceiling_is_measured():
    top = ceiling("cpu", "32")
    assert 1e8 < top.operations < 1e14 and 1e8 < top.bytes < 1e13


@pytest.mark.parametrize(("precision", "fast", "dtype"), [("32", True, "float32"), ("bf16", False, "bfloat16"), ("auto", True, "bfloat16"),
                                                          ("auto", False, "float32")])  # fmt: skip
def test_the_ceiling_is_that_of_the_precision(monkeypatch, precision, fast, dtype):
    seen = []
    monkeypatch.setattr(floor, "fast_bf16", lambda device: fast)
    monkeypatch.setattr(floor, "timed", lambda work, device, repeat=1: (1.0, seen.append(work().dtype)))
    floor.ceiling("cpu", precision)
    assert seen == [getattr(torch, dtype), torch.float32]


def test_timed_keeps_the_quickest(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert timed(lambda: "done", "cpu", repeat=3) == (1.0, "done")


def test_covered_by_hand_and_by_brute_force():
    assert covered([]) == 0
    assert covered([(5, 7), (0, 2), (1, 3), (2, 2.5)]) == 5
    draw = random.Random(0)
    for _ in range(50):
        spans = [(start, start + draw.randint(0, 9)) for start in (draw.randint(0, 40) for _ in range(draw.randint(1, 12)))]
        assert covered(spans) == sum(any(low <= place < high for low, high in spans) for place in range(60))


def test_a_table_shows_what_any_row_has():
    lines = table({"stock": {"seconds": 2.0, "ratio": 1.0}, "ours": {"seconds": 0.5, "floor": 0.1, "ratio": 4.0}}).splitlines()
    assert lines[0].split() == ["seconds", "floor", "times", "stock"]
    assert lines[2].split() == ["stock", "2.00", "-", "1.0"] and lines[3].split() == ["ours", "0.50", "0.100", "4.0"]
