"""A measurement that is cut short leaves what it has found."""

from argparse import Namespace
from types import SimpleNamespace

import pytest

from cycle import bench
from cycle.bench import exchange, train
from cycle.files import read_json


def test_what_was_measured_before_an_error_is_kept(tmp_path, monkeypatch, capsys):
    def measure(exp, utterances):
        yield "utterances", utterances
        yield "asr", {"rows": {"ours": {"seconds": 1.5}}, "says": "so far"}
        raise RuntimeError("cut short")

    monkeypatch.setattr(bench, "_experiment", lambda path, device: SimpleNamespace(path=path))
    monkeypatch.setattr(exchange, "measure", measure)
    with pytest.raises(RuntimeError, match="cut short"):
        bench.main(Namespace(what="exchange", path=tmp_path, device="cpu", utterances=7, json=tmp_path / "found.json"))
    assert list(read_json(tmp_path / "found.json")) == ["utterances", "asr"]
    said = capsys.readouterr().out
    assert "1.50" in said and "so far" in said


def test_a_round_is_an_exchange_and_its_updates(tmp_path, monkeypatch):
    """Two seconds, kernels in one of them; and ten updates of 0.3 s, kernels in 0.2 of each."""
    made = []
    monkeypatch.setattr(train, "exchange", lambda exp, number, start, work, fabric: made.append(work.name))
    monkeypatch.setattr(train, "timed", lambda work, device: (2.0, work()))
    monkeypatch.setattr(train, "kernel_seconds", lambda work: work() or 1.0)
    exp = SimpleNamespace(device="cuda", round=lambda number: tmp_path, config=SimpleNamespace(rounds=SimpleNamespace(updates=10)))
    found = train._round(exp, None, tmp_path, 0.3, 0.2)
    assert found["seconds"] == pytest.approx(5.0) and found["busy"] == pytest.approx(3 / 5) and "50 %" in found["says"]
    assert made == ["first", "again", "noted"]


def test_curves_are_compared_by_hand():
    assert train.apart([2.0, 1.0, 0.5], [2.0, 1.25, 0.4]) == pytest.approx(0.25)
