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


def test_curves_are_compared_by_hand():
    assert train.apart([2.0, 1.0, 0.5], [2.0, 1.25, 0.4]) == pytest.approx(0.25)
