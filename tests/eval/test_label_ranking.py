"""How confidence ranks labels, by hand."""

import pytest

from cycle.data import table
from cycle.data.schemas import LABEL
from cycle.errors import UserError
from cycle.eval.label_ranking import chosen_by_tts, curve, main


def test_curve_by_hand():
    rows = [{"x": v} for v in (0.9, 0.1, 0.5, 0.7)]
    out = curve(rows, errors=[0, 4, 1, 1], refs=[4, 4, 4, 4], measure=lambda r: r["x"])
    assert out == [0.0, 0.0, 1 / 8, 2 / 12, 6 / 16]  # best tenth (one), quarter, half, three quarters, all


def test_the_synthesiser_s_choice():
    assert chosen_by_tts({"text": "a", "nbest": ["a", "b", "c"], "tts": [-0.5, -0.2, None]}) == "b"
    assert chosen_by_tts({"text": "a", "nbest": ["a"], "tts": []}) == "a"


def test_it_reads_an_experiment(tmp_path, capsys):
    (tmp_path / "oracle/speech").mkdir(parents=True)
    (tmp_path / "oracle/speech/tokens").write_text("u1 a b\nu2 c\n")
    rows = [
        {
            "utt": "u1",
            "text": "a b",
            "frames": 9,
            "logp": -1.0,
            "prior": -2.0,
            "posterior": 0.9,
            "nbest": ["a b", "a"],
            "tts": [-0.1, -0.2],
        },
        {"utt": "u2", "text": "d", "frames": 9, "logp": -3.0, "prior": -2.0, "posterior": 0.5, "nbest": ["d", "c"], "tts": [-0.3, -0.1]},
    ]
    table.write(tmp_path / "round_01/labels/00000.arrow", rows, LABEL)
    main(tmp_path, 1)
    said = capsys.readouterr().out
    assert "perfect choice of the N-best: 0.0" in said and "choice by the synthesiser:    0.0" in said
    assert said.splitlines()[1].split()[-1] == "33.3"
    with pytest.raises(UserError, match="no labels"):
        main(tmp_path, 2)
