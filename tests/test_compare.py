"""`python -m cycle compare`: one table over experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cycle import compare, score
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.files import read_json, write_json
from tests.fake_experiment import decoded


def scored(path: Path, systems: tuple[str, ...] = ("baseline", "cycle", "more_steps", "oracle"), **more: object) -> Path:
    score.score(decoded(path, systems, **more), spelling("cmn"))  # type: ignore[arg-type]
    return path


def test_rows_agree_with_the_summary(tmp_path: Path) -> None:
    path = scored(tmp_path / "a")
    summary = read_json(path / "summary.json")
    rows, notes = compare.compare([path])
    assert notes == [] and [row.system for row in rows] == list(summary["systems"])
    by_name = {row.system: row for row in rows}
    for system, row in by_name.items():
        entry = summary["systems"][system]
        assert (row.rate, row.errors, row.ref, list(row.ci95)) == (entry["rate"], entry["errors"], entry["ref"], entry["ci95"])
    assert by_name["cycle"].relative_reduction == pytest.approx(summary["relative_reduction"], abs=1e-5)
    assert by_name["baseline"].relative_reduction is None and by_name["baseline"].p_baseline is None


def test_p_values_tell_apart_what_differs(tmp_path: Path) -> None:
    rows = {row.system: row for row in compare.compare([scored(tmp_path / "a")])[0]}
    assert rows["cycle"].p_baseline is not None and rows["cycle"].p_baseline < 0.01 and rows["cycle"].p_recipe is None
    assert rows["more_steps"].p_baseline is not None and rows["more_steps"].p_baseline > 0.05
    assert rows["more_steps"].p_recipe is not None and rows["more_steps"].p_recipe < 0.01
    assert rows["baseline"].p_recipe == rows["cycle"].p_baseline


def test_pairs_by_name_not_by_line(tmp_path: Path) -> None:
    path = scored(tmp_path / "a")
    before = compare.compare([path])
    file = path / "score" / "cycle" / "per_utt.tsv"
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert compare.compare([path]) == before


def test_each_experiment_has_its_own_baseline(tmp_path: Path) -> None:
    paths = [scored(tmp_path / "a"), scored(tmp_path / "b", ("baseline", "mwer"), n=30, recipe="mwer")]
    rows, _ = compare.compare(paths)
    assert [(row.experiment, row.system) for row in rows[-2:]] == [(str(paths[1]), "baseline"), (str(paths[1]), "mwer")]
    assert rows[-1].relative_reduction == pytest.approx(1 - rows[-1].rate / rows[-2].rate)
    assert rows[-2].p_recipe == rows[-1].p_baseline is not None


def test_different_utterances_are_said_not_compared(tmp_path: Path) -> None:
    path = scored(tmp_path / "a", ("baseline", "cycle"))
    file = path / "score" / "cycle" / "per_utt.tsv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    rows, notes = compare.compare([path])
    assert all(row.p_baseline is None and row.p_recipe is None for row in rows)
    assert f"{path}: no p-value of cycle against baseline: they were scored on different utterances" in notes
    file.unlink()
    assert "run stage 6 again" in compare.compare([path])[1][0]


def test_text_markdown_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = scored(tmp_path / "a")
    assert compare.main([path], json_file=tmp_path / "out.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4 and lines[0].split()[:3] == ["experiment", "system", "unit"] and len({len(line) for line in lines}) == 1
    saved = json.loads((tmp_path / "out.json").read_text())
    assert [row["system"] for row in saved["rows"]] == ["baseline", "cycle", "more_steps", "oracle"]
    assert compare.main([path], markdown=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4 and all(line.startswith("|") and line.count("|") == len(compare.HEADER) + 1 for line in lines)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    path = scored(tmp_path / "a", ("baseline", "cycle"))
    assert compare.compare([path])[1] == []
    summary = read_json(path / "summary.json")
    summary["systems"]["cycle"] = None
    write_json(path / "summary.json", summary | {"missing": {"lm": "no decodings"}})
    rows, notes = compare.compare([path])
    assert [row.system for row in rows] == ["baseline"]
    assert notes == [f"{path}: lm is missing: no decodings", f"{path}: cycle has no score"]


def test_unfinished_ones_say_how_to_go_on_and_none_is_named_twice(tmp_path: Path) -> None:
    path = scored(tmp_path / "a")
    with pytest.raises(UserError, match="is named twice"):
        compare.main([path, tmp_path / "b" / ".." / "a"])
    write_json(tmp_path / "my b" / "experiment.json", {"command": ["run", "--exp", "my b", "--", "seed=2"]})
    with pytest.raises(UserError, match=r"finish it first: \./run\.sh --exp '/.*/my b' -- seed=2"):
        compare.main([path, tmp_path / "my b"])


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_no_finished_experiment(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        compare.main([tmp_path])
