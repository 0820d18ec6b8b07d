"""Stages 6 and 7 and `compare` of captions: a value in place of a rate, and higher is better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cycle import compare, report, rounds, score
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.eval import captions, plots, side_by_side, story
from cycle.eval.style import STYLES
from cycle.files import read_json, read_jsonl, write_json, write_jsonl
from tests.fake_experiment import CAPTIONS, captioned

BASELINE = ["a dog", "rain falls", "a bell", ""]
BETTER = ["a dog barking", "rain falls hard", "a bell rings then a dog barks", "a strong wind blows"]


def test_summary_of_captions(tmp_path: Path) -> None:
    exp = captioned(tmp_path, {"baseline": BASELINE, "caption_scst": BETTER})
    summary = score.score(exp, spelling("captions"))
    assert (summary["metric"], summary["higher_is_better"], summary["corpus"]) == ("cider_d", True, "scenes")
    for system, said in (("baseline", BASELINE), ("caption_scst", BETTER)):
        entry = summary["systems"][system]
        expected = captions.scores(CAPTIONS, dict(zip(CAPTIONS, said, strict=True)))
        assert entry["value"] == pytest.approx(expected.overall["cider_d"], abs=1e-6) and entry["n"] == 4
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert not {"rate", "errors", "ref"} & entry.keys() and set(entry["dev"]) == {"value", "n", "ci95"}
        assert entry["scores"]["rouge_l"] == pytest.approx(expected.overall["rouge_l"], abs=1e-6)
        assert entry["shape"]["distinct"] == 4 and entry["references"]["distinct"] == 12
    assert summary["systems"]["baseline"]["shape"]["length"] == 1.5
    low, high = (summary["systems"][name]["value"] for name in ("baseline", "caption_scst"))
    assert summary["relative_reduction"] == pytest.approx(1 - high / low, abs=1e-4) and high > low
    json.loads(exp.summary.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    listed = (exp.scores / "baseline" / "captions.txt").read_text()
    assert listed.index("c3  0.000") < listed.index("c1  ") and "  hyp  rain falls\n  ref  rain falls\n" in listed


def test_a_single_reference_and_an_old_decoding_without_references(tmp_path: Path) -> None:
    exp = captioned(tmp_path, {"baseline": BASELINE, "caption_scst": BETTER})
    for system in ("baseline", "caption_scst"):
        file = exp.decoded(system) / "test.jsonl"
        write_jsonl(file, [{k: v for k, v in row.items() if k != "refs"} for row in read_jsonl(file)])
    entry = score.score(exp, spelling("captions"))["systems"]["caption_scst"]
    alone = captions.scores({c: texts[:1] for c, texts in CAPTIONS.items()}, dict(zip(CAPTIONS, BETTER, strict=True)))
    assert entry["value"] == pytest.approx(alone.overall["cider_d"], abs=1e-6) and entry["references"]["distinct"] == 4


def test_references_that_are_all_empty_are_named(tmp_path: Path) -> None:
    exp = captioned(tmp_path, {"baseline": BASELINE, "caption_scst": BETTER})
    for system in ("baseline", "caption_scst"):
        rows = read_jsonl(exp.decoded(system) / "test.jsonl")
        write_jsonl(exp.decoded(system) / "test.jsonl", [{**row, "refs": [""], "ref": ""} if row["utt"] == "c1" else row for row in rows])
    with pytest.raises(UserError, match="all references of clip 'c1' are empty"):
        score.score(exp, spelling("captions"))


def test_compare_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp = captioned(tmp_path / "a", {"baseline": BASELINE, "caption_scst": BETTER})
    score.score(exp, spelling("captions"))
    assert compare.main([tmp_path / "a"], json_file=tmp_path / "out.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["experiment", "system", "metric", "value"] and len(lines) == 4
    rows = read_json(tmp_path / "out.json")["rows"]
    entries = read_json(exp.summary)["systems"]
    assert [(r["value"], r["n"]) for r in rows] == [(e["value"], 4) for e in entries.values()]
    assert rows[1]["relative_gain"] == pytest.approx(rows[1]["value"] / rows[0]["value"] - 1) and rows[1]["relative_gain"] > 0
    assert 0 < rows[1]["p_baseline"] <= 1 and rows[0]["p_recipe"] == rows[1]["p_baseline"]
    report.main(exp)
    page = (exp.report / "report.html").read_text()
    assert "fewer errors" not in page and "rouge_l" in page and "distinct" in page and "references" in page


def test_values_of_several_experiments_are_no_percentages(tmp_path: Path) -> None:
    told = []
    for name in "ab":
        exp = captioned(tmp_path / name, {"baseline": BASELINE, "caption_scst": BETTER})
        score.score(exp, spelling("captions"))
        told.append(plots.comparison.Told(name, story.read(exp)))
    rows = plots.comparison.compared_table(told)
    value = read_json(told[1].story.exp.summary)["systems"]["caption_scst"]["value"]
    assert f"b caption_scst {value:.1f}." in plots.comparison.say_compared(rows) and value < 10
    canvas = Figure()
    plots.comparison.draw_compared(canvas, rows, STYLES["icml"])
    (axes,) = canvas.axes
    assert axes.get_xlabel() == "test cider d, 95 % interval" and axes.get_xlim()[1] < 10


def test_over_seeds(tmp_path: Path) -> None:
    for seed, said in ((1, BETTER), (2, BETTER[::-1])):
        for recipe in ("caption", "caption_scst"):
            exp = captioned(tmp_path / f"{recipe}-{seed}", {"baseline": BASELINE, "caption_scst": said})
            score.score(exp, spelling("captions"))
            write_json(exp.summary, {**read_json(exp.summary), "seed": seed, "recipe": "baseline" if recipe == "caption" else recipe})
    errors, _, refs = side_by_side.read(sorted(tmp_path.iterdir()))
    table = side_by_side.rows(errors, refs, "baseline", higher_is_better=True)
    values = {row[0]: float(row[2]) for row in table}
    assert set(values) == {"baseline", "caption_scst"} and refs.tolist() == [1.0] * 4
    assert [row[0] for row in table] == sorted(values, key=lambda name: -values[name])
    gain = 100 * (values["caption_scst"] / values["baseline"] - 1)
    assert float(next(row for row in table if row[0] == "caption_scst")[4]) == pytest.approx(gain, abs=0.1)


def test_rounds_of_a_value_are_chosen_upwards() -> None:
    history = [{"round": n, "asr_dev": value, "status": "ok"} for n, value in enumerate([0.9, 1.2, 1.1])]
    assert rounds.best_round(history, higher_is_better=True) == 1 and rounds.best_round(history) == 0
    history[2]["asr_dev"] = 1.5
    assert rounds.health({"asr_dev": 1.06, "empty_share": 0.0}, history, 0.3, True) == "ok"
    assert "1.040 on dev, below 1.050" in rounds.health({"asr_dev": 1.04, "empty_share": 0.0}, history, 0.3, True)
    assert "empty" in rounds.health({"asr_dev": 2.0, "empty_share": 0.6}, history, 0.3, True)


def test_gap_of_a_value() -> None:
    assert score.gap_recovered(1.0, 1.5, 2.0, higher_is_better=True) == 0.5
    assert score.gap_recovered(1.0, 1.5, 0.5, higher_is_better=True) is None
