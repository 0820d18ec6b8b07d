"""Stage 7: figures with the numbers behind them, and a page that survives whatever is in the experiment."""

from __future__ import annotations

import csv
import json
import logging
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cycle import compare, report, score
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.eval import figures, plots, story
from cycle.experiment import Experiment
from cycle.files import read_json, read_jsonl, write_json, write_jsonl
from tests.fake_experiment import decoded, experiment, trained

NAMES = [figure.name for figure in plots.FIGURES]


def scored(path: Path, systems: tuple[str, ...] = ("baseline", "cycle", "oracle")) -> Experiment:
    exp = trained(path, systems)
    score.score(exp, spelling("cmn"))
    return exp


def table(exp: Experiment, name: str) -> list[dict[str, str]]:
    with open(exp.report / "figures" / f"{name}.csv", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def page(exp: Experiment) -> str:
    return (exp.report / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    exp = scored(tmp_path_factory.mktemp("report") / "exp")
    report.main(exp)
    return exp


@pytest.fixture
def only_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the time, where it is not the files that matter."""
    monkeypatch.setattr(figures, "KINDS", {"png": figures.KINDS["png"]})


def test_every_figure_with_its_numbers(finished: Experiment) -> None:
    files = sorted(p.name for p in (finished.report / "figures").iterdir())
    assert files == sorted(f"{name}.{kind}" for name in NAMES for kind in ("csv", "pdf", "png"))
    assert all((finished.report / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in NAMES)


def test_fonts_are_embedded_as_truetype(finished: Experiment) -> None:
    for name in NAMES:
        pdf = (finished.report / "figures" / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"/CreationDate" not in pdf


def test_numbers_of_the_figures(finished: Experiment) -> None:
    summary = read_json(finished.summary)
    assert {r["system"]: float(r["rate"]) for r in table(finished, "systems")} == {k: e["rate"] for k, e in summary["systems"].items()}
    dev = [float(r["rate"]) for r in table(finished, "rounds") if r["name"] == "dev"]
    assert dev == [r["asr_dev"] for r in summary["rounds"]]
    assert [r["name"] for r in table(finished, "rounds") if r["kind"] == "reference"] == ["baseline", "oracle"]
    assert [(r["round"], r["kept_share"], r["rejected_error"]) for r in table(finished, "labels")] == [
        ("1", "0.5", "0.4"),
        ("2", "0.5", "0.4"),
    ]
    assert [r["tts_intelligibility"] for r in table(finished, "voices")] == [str(r["tts_intelligibility"]) for r in summary["rounds"]]
    losses = table(finished, "losses")
    assert {r["loss"] for r in losses} == {"supervised/loss"} and [r["update"] for r in losses] == [str(u) for u in range(20, 301, 20)]
    for system, entry in summary["systems"].items():
        assert sum(int(r["errors"]) for r in table(finished, "lengths") if r["system"] == system) == entry["errors"]


def test_page_stands_alone(finished: Experiment) -> None:
    tags = Tags(page(finished)).tags
    images = [attrs["src"] or "" for tag, attrs in tags if tag == "img"]
    assert len(images) == len(NAMES) and all(src.startswith("data:image/png;base64,") for src in images)
    for _, attrs in tags:
        for target in (attrs.get("href"), attrs.get("src")):
            assert target is None or target.startswith("data:") or (finished.report / target).is_file()
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    assert {"results", "figures", "rounds", "repaired", "broken", "settings"} <= {attrs.get("id") for _, attrs in tags}
    assert "missing" not in {attrs.get("id") for _, attrs in tags}


def test_results_are_those_of_compare(finished: Experiment, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cycle"):
        report.main(finished)
    for row in compare.compare([finished.root])[0]:
        for cell in row.cells()[1:]:
            assert cell in caplog.text and cell.replace("<", "&lt;") in page(finished)


def test_same_experiment_same_bytes(finished: Experiment) -> None:
    files = [p for p in sorted(finished.report.rglob("*")) if p.is_file()]
    before = [p.read_bytes() for p in files]
    time.sleep(1.1)  # a time stamp in seconds would differ
    report.main(finished)
    assert [p.name for p, old in zip(files, before, strict=True) if p.read_bytes() != old] == []


def test_examples_are_the_largest_changes(finished: Experiment) -> None:
    told = story.read(finished, read_json(finished.summary))
    errors = {system: {r["utt"]: r["errors"] for r in rows} for system, rows in told.per_utt.items()}
    change = {utt: errors["cycle"][utt] - n for utt, n in errors["baseline"].items()}
    repaired, broken = (report.examples(told, spelling("cmn"), worse=worse) for worse in (False, True))
    assert [e["after"] - e["before"] for e in repaired] == sorted(n for n in change.values() if n < 0)[:10]
    assert [e["after"] - e["before"] for e in broken] == sorted((n for n in change.values() if n > 0), reverse=True)[:10]
    for example in repaired:
        _, steps = example["hyps"][1]
        assert sum(op != "=" for op, _, _ in steps) == example["after"] == errors["cycle"][example["utt"]]
        assert " ".join(ref for _, ref, _ in steps if ref) == example["ref"]


def test_intervals_belong_to_the_scored_rounds(tmp_path: Path) -> None:
    exp = scored(tmp_path)
    summary = read_json(exp.summary)
    rates = [summary["systems"][system]["rate"] for system in ("baseline", "cycle")]
    summary["rounds"] = [{"round": 0, "asr_test": rates[0]}, {"round": 1, "asr_test": rates[1]}, {"round": 2, "asr_test": rates[1] + 0.1}]
    for best, known in ((1, [True, True, False]), (2, [True, False, False])):  # round 2's rate is not the system's
        write_json(exp.path / "rounds.json", {"best": best})
        rows = plots.rounds_table(story.read(exp, summary))
        assert [r["low"] is not None for r in rows if r["name"] == "test"] == known


def test_lengths_are_grouped_when_there_are_many(tmp_path: Path) -> None:
    exp = scored(tmp_path)
    told = story.read(exp, read_json(exp.summary))
    told.per_utt = {"baseline": [{"utt": str(n), "spk": "s", "errors": 1, "ref": n} for n in range(1, 101)]}
    rows = plots.lengths_table(told)
    assert [r["length"] for r in rows][:2] == ["1-12", "13-25"] and len(rows) == 8
    assert sum(int(r["utterances"] or 0) for r in rows) == 100


@pytest.mark.usefixtures("only_png")
def test_text_is_never_markup(tmp_path: Path) -> None:
    exp = decoded(tmp_path)
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    for system in ("baseline", "cycle"):
        rows = read_jsonl(exp.decoded(system) / "test.jsonl")
        hyp = {"hyp": "<b>x</b>"} if system == "baseline" else {}
        write_jsonl(exp.decoded(system) / "test.jsonl", [{**r, "text": evil, "spk": evil.replace(" ", ""), **hyp} for r in rows])
    exp.corpus = evil
    score.score(exp, spelling("cmn"))
    report.main(exp)
    tags = Tags(page(exp)).tags
    assert "script" not in {tag for tag, _ in tags} and not any("onerror" in attrs for _, attrs in tags)
    assert "&lt;script&gt;" in page(exp) and "&lt;b&gt;x&lt;/b&gt;" in page(exp)


def broken_rounds(exp: Experiment) -> None:
    (exp.round(1) / "metrics.json").write_text("{")
    with open(exp.path / "metrics.jsonl", "a") as handle:
        handle.write('{"phase": "round 9", "step": NaN, "supervised/loss": 1}\n{"phase": "round 2", "st')


def nan_everywhere(exp: Experiment) -> None:
    nan = float("nan")
    write_json(exp.round(2) / "metrics.json", {"asr_dev": nan, "kept_share": nan, "tts_pitch_std": "high", "status": "diverged"})
    write_jsonl(exp.path / "metrics.jsonl", [{"phase": "p", "step": 1, "a/loss": nan}, {"phase": "p", "step": 2, "a/loss": None}])


def without(*names: str) -> Any:
    def remove(exp: Experiment) -> None:
        for name in names:
            (exp.path / name).unlink()

    return remove


def without_decodings(exp: Experiment) -> None:
    for system in ("baseline", "cycle"):
        (exp.decoded(system) / "test.jsonl").unlink()


@pytest.mark.usefixtures("only_png")
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (broken_rounds, "Monitors of round 1"),
        (nan_everywhere, "Training losses"),
        (without("metrics.jsonl"), "Training losses"),
        (without("score/cycle/per_utt.tsv"), "Errors per utterance of cycle"),
        (without_decodings, None),
    ],
    ids=["broken files", "nan", "no losses", "no utterances", "no decodings"],
)
def test_makes_what_there_is(tmp_path: Path, damage: Any, said: str | None) -> None:
    exp = scored(tmp_path, ("baseline", "cycle"))
    damage(exp)
    report.main(exp)
    assert "Systems" in page(exp) and (exp.report / "figures" / "systems.png").exists()
    if said:
        assert re.search(f"<li>[^<]*{said}", page(exp))


@pytest.mark.usefixtures("only_png")
def test_without_any_round(tmp_path: Path) -> None:
    exp = decoded(tmp_path, ("baseline",))
    write_json(tmp_path / "decode" / "rounds.json", [])
    score.score(exp, spelling("cmn"))
    report.main(exp)
    assert "No round is finished." in page(exp) and "System cycle: no decodings." in page(exp)
    assert sorted(p.stem for p in (exp.report / "figures").glob("*.csv")) == ["lengths", "systems"]


@pytest.mark.usefixtures("only_png")
def test_old_summary(tmp_path: Path) -> None:
    """Of an older version: nothing but what the contract always had."""
    entry = {"errors": 5, "ref": 10, "rate": 0.5, "ci95": [0.2, 0.8]}
    write_json(tmp_path / "summary.json", {"recipe": "cycle", "metric": "word_error_rate", "systems": {"baseline": entry}})
    report.main(experiment(tmp_path))
    assert "20.0 to 80.0" in page(experiment(tmp_path))


def test_unscored_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished experiment"):
        report.main(experiment(tmp_path))


@pytest.mark.usefixtures("only_png")
def test_stale_figures_go(tmp_path: Path) -> None:
    exp = scored(tmp_path)
    report.main(exp)
    (exp.path / "metrics.jsonl").unlink()
    report.main(exp)
    assert not list((exp.report / "figures").glob("losses.*"))
    assert json.loads((tmp_path / "summary.json").read_text())
