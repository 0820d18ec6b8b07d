"""Stage 7: figures with the numbers behind them, and a page that survives whatever is in the experiment."""

from __future__ import annotations

import csv
import json
import logging
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cycle import compare, report, score
from cycle.data.text import spelling
from cycle.eval import examples, figures, plots, story
from cycle.experiment import Experiment
from cycle.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from tests.fake_experiment import decoded, experiment, samples, trained, whole

NAMES = [figure.name for figure in plots.FIGURES]
SECTIONS = {"results", "run", "curves", "rounds", "errors", "changes", "alignment", "listening", "selection", "health", "settings"}


def scored(path: Path, make: Callable[..., Experiment] = trained, **more: Any) -> Experiment:
    exp = make(path, **more)
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

    @property
    def ids(self) -> set[str | None]:
        return {attrs.get("id") for _, attrs in self.tags}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The report of an experiment with all that one reads; its models are played by `samples`."""
    exp = scored(tmp_path_factory.mktemp("report") / "exp", whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "look", lambda told: samples())
        report.main(exp)
    return exp


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a report that a test makes itself."""
    monkeypatch.setattr(report, "look", lambda told: samples())


@pytest.fixture
def only_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the time, where it is not the files that matter."""
    monkeypatch.setattr(figures, "KINDS", {"svg": figures.KINDS["svg"]})


@pytest.fixture
def hardly_drawn(monkeypatch: pytest.MonkeyPatch, only_svg: None) -> None:
    """Everything is put on the canvas, and the canvas is left there."""
    monkeypatch.setattr(figures.Canvas, "savefig", lambda canvas, handle, **_: handle.write(b"<svg xmlns='http://www.w3.org/2000/svg'/>"))
    monkeypatch.setattr(figures.ConstrainedLayoutEngine, "execute", lambda engine, canvas: None)


def test_every_figure_with_its_numbers(drawn: Experiment) -> None:
    shown = [name for name in NAMES if name not in ("closeup_2", "closeup_3")]  # there is one test sample
    files = sorted(p.name for p in (drawn.report / "figures").iterdir())
    assert files == sorted(f"{name}.{kind}" for name in shown for kind in ("csv", "pdf", "svg")) and len(shown) >= 6


def test_figures_are_fit_for_print(drawn: Experiment) -> None:
    for pdf in sorted((drawn.report / "figures").glob("*.pdf")):
        data = pdf.read_bytes()
        assert b"/FontFile2" in data and b"/Type3" not in data and b"/CreationDate" not in data, pdf
        width, height = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data).groups()  # type: ignore[union-attr]
        assert float(width) <= 3.25 * 72 + 0.01 and float(height) < 9 * 72, pdf  # ICML's column and page
    assert b"CycleHan" in (drawn.report / "figures/closeup_1.pdf").read_bytes()


def test_numbers_of_the_figures(drawn: Experiment) -> None:
    summary = read_json(drawn.summary)
    assert {r["system"]: float(r["rate"]) for r in table(drawn, "systems")} == {k: e["rate"] for k, e in summary["systems"].items()}
    dev = [float(r["rate"]) for r in table(drawn, "rounds") if r["name"] == "dev"]
    assert dev == [r["asr_dev"] for r in summary["rounds"]]
    assert [r["name"] for r in table(drawn, "rounds") if r["kind"] == "reference"] == ["baseline", "oracle"]
    assert [(r["round"], r["kept_share"], r["rejected_error"]) for r in table(drawn, "labels")] == [
        ("1", "0.5", "0.4"),
        ("2", "0.5", "0.4"),
    ]
    assert [r["tts_intelligibility"] for r in table(drawn, "gap")] == [str(r["tts_intelligibility"]) for r in summary["rounds"]]
    losses = table(drawn, "losses")
    assert {r["name"] for r in losses} == {"supervised/loss"} and [r["update"] for r in losses] == [str(u) for u in range(20, 301, 20)]
    assert {r["name"] for r in table(drawn, "training")} == {"norm/asr"}
    for system, entry in summary["systems"].items():
        assert sum(int(r["errors"]) for r in table(drawn, "lengths") if r["system"] == system) == entry["errors"]
        kinds = next(r for r in table(drawn, "kinds") if r["system"] == system)
        assert [int(kinds[k]) for k in ("sub", "ins", "del")] == [entry[k] for k in ("sub", "ins", "del")]
    assert sum(int(r["errors"]) for r in table(drawn, "speakers") if r["system"] == "cycle") == summary["systems"]["cycle"]["errors"]


@pytest.mark.usefixtures("played")
def test_a_planted_fault_is_seen(drawn: Experiment, tmp_path: Path) -> None:
    """A figure is drawn from its table and from nothing else: another number is another picture."""
    told = report.read(drawn)
    for name in ("rounds", "confusions", "closeup_1", "flow"):
        figure = next(f for f in plots.FIGURES if f.name == name)
        rows = figure.table(told)
        assert rows
        key = {"rounds": "rate", "confusions": "count", "closeup_1": "value", "flow": "count"}[name]
        place = max(range(len(rows)), key=lambda i, key=key: rows[i][key] or -1)
        for folder, change in (("good", 1), ("faulty", 2)):
            wrong = [{**row, key: row[key] * change} if i == place else row for i, row in enumerate(rows)]  # type: ignore[operator]
            figures.write(figure, wrong, tmp_path / folder, report.STYLES["plain"])
        good = (drawn.report / "figures" / f"{name}.svg").read_bytes()
        assert (tmp_path / "good" / f"{name}.svg").read_bytes() == good != (tmp_path / "faulty" / f"{name}.svg").read_bytes(), name


def test_page_stands_alone(drawn: Experiment) -> None:
    tags = Tags(page(drawn))
    images = [attrs["src"] or "" for tag, attrs in tags.tags if tag == "img"]
    assert all(src.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for src in images)
    assert all(attrs.get("alt") for tag, attrs in tags.tags if tag == "img")
    for _, attrs in tags.tags:
        for target in (attrs.get("href"), attrs.get("src")):
            assert target is None or target.startswith(("data:", "#")) or (drawn.report / target).is_file()
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", page(drawn)) and "url(http" not in page(drawn)
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in tags.tags}
    assert tags.ids >= SECTIONS and {t[1:] for _, a in tags.tags if (t := a.get("href") or "").startswith("#")} <= tags.ids
    players = [attrs for tag, attrs in tags.tags if tag == "audio"]
    assert players and all("autoplay" not in a and "controls" in a and a["aria-label"] for a in players)
    assert (drawn.report / "report.html").stat().st_size < 10e6
    missing = re.findall("<li>(.*?)</li>", page(drawn).partition('id="missing"')[2].partition("</ul>")[0])
    assert missing == ["Recording of u000: it is no longer where the data directory says."]


def test_what_happened(drawn: Experiment) -> None:
    text = page(drawn)
    assert "./run.sh -- preset=smoke" in text and "python -m cycle report exp/mini" in text and "torch 2" in text
    assert "<td>3 pretrain</td><td>cycle</td><td>30.0</td><td>20</td>" in text
    flow = {(r["kind"], r["name"], r["of"]): r for r in table(drawn, "flow")}
    assert flow["pool", "paired", ""]["count"] == "40" and float(flow["pool", "paired", ""]["hours"]) == pytest.approx(
        40 * 1.5 / 3600, abs=1e-4
    )
    assert flow["stream", "pseudo", "speech"]["count"] == "10"
    assert ("objective", "tts_through_asr", "tts") in flow and ("objective", "asr_through_tts", "asr") in flow
    shares = [float(r["share"]) for key, r in flow.items() if key[:2] == ("wire", "asr_supervised")]
    assert shares == [0.2917, 0.125, 0.5833]  # mean of two rounds: a third, none, two thirds; then a quarter, a quarter, a half


@pytest.mark.usefixtures("hardly_drawn", "played")
def test_results_are_those_of_compare(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn = scored(tmp_path)
    with caplog.at_level(logging.INFO, logger="cycle"):
        report.main(drawn)
    for row in compare.compare([drawn.root])[0]:
        for cell in row.cells()[1:]:
            assert cell in caplog.text and cell.replace("<", "&lt;") in page(drawn)


@pytest.mark.usefixtures("played")
def test_same_experiment_same_bytes(drawn: Experiment) -> None:
    files = [p for p in sorted(drawn.report.rglob("*")) if p.is_file()]
    before = [p.read_bytes() for p in files]
    time.sleep(1.1)  # a time stamp in seconds would differ
    report.main(drawn)
    assert [p.name for p, old in zip(files, before, strict=True) if p.read_bytes() != old] == []


def test_examples_are_the_largest_changes(drawn: Experiment) -> None:
    told = story.read(drawn)
    errors = {system: {r["utt"]: r["errors"] for r in rows} for system, rows in told.per_utt.items()}
    change = {utt: errors["cycle"][utt] - n for utt, n in errors["baseline"].items()}
    found = examples.changes(told)
    assert [one.title for one in found] == ["baseline → cycle", "round 0 → round 1", "round 1 → round 2"]
    assert [e.after - e.before for e in found[0].repaired] == sorted(n for n in change.values() if n < 0)[: examples.MOST]
    assert [e.after - e.before for e in found[0].broken] == sorted((n for n in change.values() if n > 0), reverse=True)[: examples.MOST]
    for example in found[0].repaired:
        _, steps = example.hyps[1]
        assert sum(op != "=" for op, _, _ in steps) == example.after == errors["cycle"][example.utt]
        assert " ".join(ref for _, ref, _ in steps if ref) == example.ref


def test_intervals_belong_to_the_scored_rounds(tmp_path: Path) -> None:
    exp = scored(tmp_path)
    summary = read_json(exp.summary)
    rates = [summary["systems"][system]["rate"] for system in ("baseline", "cycle")]
    summary["rounds"] = [{"round": 0, "asr_test": rates[0]}, {"round": 1, "asr_test": rates[1]}, {"round": 2, "asr_test": rates[1] + 0.1}]
    for best, known in ((1, [True, True, False]), (2, [True, False, False])):  # round 2's rate is not the system's
        write_json(exp.path / "rounds.json", {"best": best})
        rows = plots.curves.rounds_table(story.read(exp, summary))
        assert [r["low"] is not None for r in rows if r["name"] == "test"] == known


@pytest.mark.parametrize(
    ("hours", "said"), [(0.0078, "28 s"), (0.034, "2 min"), (1.5, "90 min"), (2.5, "2.5 h"), (178.0, "178 h"), (0.0, "0 s")]
)
def test_durations_in_a_unit_that_fits(hours: float, said: str) -> None:
    assert plots.flow.size_of({"count": 1200, "hours": hours}) == f"1 200, {said}"


def test_lengths_are_grouped_when_there_are_many(tmp_path: Path) -> None:
    told = story.read(scored(tmp_path))
    told.per_utt = {"baseline": [{"utt": str(n), "spk": "s", "errors": 1, "ref": n} for n in range(1, 101)]}
    rows = plots.errors.lengths_table(told)
    assert [r["length"] for r in rows][:2] == ["1-12", "13-25"] and len(rows) == 8
    assert sum(int(r["utterances"] or 0) for r in rows) == 100


def test_amounts_show_controls_of_more_than_one_experiment(tmp_path: Path) -> None:
    told = [plots.comparison.Told(str(n), story.read(scored(tmp_path / str(n), whole, pairs=n))) for n in (40, 80)]
    for one, controls in zip(told, (("tts_only", "lm"), ("tts_only",)), strict=True):
        one.story.summary["systems"] = dict.fromkeys(("baseline", "cycle", *controls), one.story.systems["baseline"])
    curves = [(str(row["curve"]).split()[-1], row["pairs"]) for row in plots.comparison.amounts_table(told)]
    assert curves == [(name, n) for n in (40, 80) for name in ("baseline", "cycle", "tts_only")]
    assert plots.comparison.amounts_table(told[:1]) == []


@pytest.mark.usefixtures("only_svg")
def test_several_experiments(tmp_path: Path) -> None:
    few, more = scored(tmp_path / "few" / "exp", whole), scored(tmp_path / "more" / "exp", whole, pairs=80)
    begun = experiment(tmp_path / "begun")
    report.main(few, "icml", [more, begun])
    assert "few/exp, more/exp" in page(few) and "begun: Scores (summary.json)" in page(few)
    assert {r["pairs"] for r in table(few, "amounts")} == {"40", "80"}
    matrix = {(r["system"], r["against"]): r for r in table(few, "bootstrap")}
    assert set(matrix) == {("few/exp", "more/exp"), ("more/exp", "few/exp")}
    assert all(float(r["p"]) == 1.0 and float(r["difference"]) == 0 for r in matrix.values())  # they hold the same
    assert [r["experiment"] for r in table(few, "compared")] == ["few/exp"] * 3 + ["more/exp"] * 3
    assert not more.report.exists()


def test_one_experiment_against_another_by_hand() -> None:
    """On four units three errors and one: half a unit apart."""
    scores = {"a": (2, 1), "b": (1, 0), "c": (1, 0)}
    told: Any = []
    for name, errors in scores.items():
        rows = [{"utt": f"u{i}", "errors": e, "ref": 2} for i, e in enumerate(errors)]
        told.append(SimpleNamespace(name=name, story=SimpleNamespace(recipe="cycle", per_utt={"cycle": rows})))
    matrix = {(row["system"], row["against"]): row for row in plots.comparison.bootstrap_table(told)}
    assert matrix["a", "b"]["difference"] == 0.5 == -matrix["b", "a"]["difference"] and matrix["b", "c"]["difference"] == 0
    assert matrix["b", "c"]["p"] == 1.0 > matrix["a", "b"]["p"] == matrix["b", "a"]["p"] and matrix["a", "b"]["utterances"] == 2


@pytest.mark.usefixtures("only_svg")
def test_text_is_never_markup(tmp_path: Path) -> None:
    exp = decoded(tmp_path)
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>$\\frac$"
    for system in ("baseline", "cycle"):
        rows = read_jsonl(exp.decoded(system) / "test.jsonl")
        hyp = {"hyp": "<b>x</b> $a_$"} if system == "baseline" else {}
        write_jsonl(exp.decoded(system) / "test.jsonl", [{**r, "text": evil, "spk": evil.replace(" ", ""), **hyp} for r in rows])
    exp.corpus = evil
    score.score(exp, spelling("cmn"))
    report.main(exp)
    tags = Tags(page(exp)).tags
    assert "script" not in {tag for tag, _ in tags} and not any("onerror" in attrs for _, attrs in tags)
    assert "&lt;script&gt;" in page(exp) and "&lt;b&gt;x&lt;/b&gt;" in page(exp)
    assert (exp.report / "figures/speakers.svg").exists() and (exp.report / "figures/confusions.svg").exists()


def broken_rounds(exp: Experiment) -> None:
    (exp.round(1) / "metrics.json").write_text("{")
    with open(exp.path / "metrics.jsonl", "a") as handle:
        handle.write('{"phase": "round 9", "step": NaN, "supervised/loss": 1}\n{"phase": "round 2", "st')


def nan_everywhere(exp: Experiment) -> None:
    nan = float("nan")
    write_json(exp.round(2) / "metrics.json", {"asr_dev": nan, "kept_share": nan, "tts_pitch_std": "high", "status": "diverged"})
    write_jsonl(exp.path / "metrics.jsonl", [{"phase": "p", "step": 1, "a/loss": nan}, {"phase": "p", "step": 2, "a/loss": None}])


def nan_scores(exp: Experiment) -> None:
    summary = read_json(exp.summary)
    summary["systems"]["cycle"] |= {"rate": float("nan"), "ci95": [None, float("nan")]}
    summary["systems"]["baseline"]["ci95"] = None
    write_json(exp.summary, {**summary, "relative_reduction": float("nan"), "rounds": [{"round": 0, "asr_dev": float("inf")}, 7]})


def without(*names: str) -> Any:
    def remove(exp: Experiment) -> None:
        for name in names:
            (exp.path / name).unlink()

    return remove


def without_decodings(exp: Experiment) -> None:
    for file in exp.path.glob("decode/*/*.jsonl"):
        file.unlink()


def nonsense(name: str) -> Any:
    return lambda exp: write_text(exp.path / name, '{"a": [}\x00\tnonsense\n')


def told_and_drawn(tmp_path: Path, damage: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = scored(tmp_path, whole)
    monkeypatch.setattr(report, "look", lambda told: [])
    damage(exp)
    report.main(exp)
    assert Tags(page(exp)).ids >= SECTIONS and list((exp.report / "figures").glob("*.svg"))
    assert re.search(f"<li>[^<]*{said}", page(exp)), re.findall("<li>(.*)</li>", page(exp))


@pytest.mark.usefixtures("only_svg")
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (nan_everywhere, "Figures that the experiment has no numbers for: [^<]*“Losses”"),
        (nan_scores, "System cycle: its score is no number"),
    ],
)
def test_draws_what_is_a_number(tmp_path: Path, damage: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told_and_drawn(tmp_path, damage, said, monkeypatch)


@pytest.mark.usefixtures("hardly_drawn")
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (broken_rounds, "Monitors of round 1"),
        (without("metrics.jsonl"), "Figures that the experiment has no numbers for: [^<]*“Losses”"),
        (without("score/cycle/per_utt.tsv"), "Errors per utterance of cycle"),
        (without("data/test/wav.scp", "data/test/text"), "Pool test"),
        (without_decodings, "Figures that the experiment has no numbers for: [^<]*“Confusions”"),
        (nonsense("summary.json"), "Scores"),
        (nonsense("score/cycle/per_utt.tsv"), "Errors per utterance of cycle"),
        (nonsense("round_02/labels/00000.arrow"), "Label quality"),
        (nonsense("round_02/selection/labels_kept.tsv"), "Selection, pseudo-labels of round 2"),
        (nonsense("experiment.json"), "Command line and versions"),
        (nonsense("stamps/3_pretrain.json"), "Time of cycle, 3_pretrain"),
        (nonsense("decode/cycle/round_01.jsonl"), "Repaired and broken"),
        (nonsense("data/dev/utt2dur"), "Pools"),
    ],
)
def test_makes_what_there_is(tmp_path: Path, damage: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told_and_drawn(tmp_path, damage, said, monkeypatch)


@pytest.mark.usefixtures("hardly_drawn")
def test_without_models(tmp_path: Path) -> None:
    """The models of another version cannot be opened: the rest of the page is there."""
    exp = scored(tmp_path, whole)
    report.main(exp)
    assert re.search("<li>Attention, alignment and synthetic speech: the models cannot be asked", page(exp))
    assert Tags(page(exp)).ids >= SECTIONS and "There is nothing to listen to yet." in page(exp)


@pytest.mark.usefixtures("only_svg")
def test_without_any_round(tmp_path: Path) -> None:
    exp = decoded(tmp_path, ("baseline",))
    write_json(tmp_path / "decode" / "rounds.json", [])
    score.score(exp, spelling("cmn"))
    report.main(exp)
    assert "No round is finished." in page(exp) and "System cycle: no decodings." in page(exp)
    assert {"lengths", "systems"} < {p.stem for p in (exp.report / "figures").glob("*.csv")}


@pytest.mark.usefixtures("only_svg")
def test_while_it_runs(tmp_path: Path) -> None:
    """Before the first stage has ended there is a page; nothing is scored, nothing trained."""
    exp = experiment(tmp_path)
    report.main(exp)
    assert (
        Tags(page(exp)).ids >= SECTIONS and "No system is scored yet." in page(exp) and "stages 5 and 6 have not been run yet" in page(exp)
    )
    write_jsonl(exp.path / "metrics.jsonl", [{"phase": "pretrain_asr", "step": s, "asr_supervised/loss": 1 / s} for s in (20, 40)])
    report.main(exp)
    assert (exp.report / "figures/losses.svg").exists()


@pytest.mark.usefixtures("only_svg")
def test_old_summary(tmp_path: Path) -> None:
    """Of an older version: nothing but what the contract always had."""
    entry = {"errors": 5, "ref": 10, "rate": 0.5, "ci95": [0.2, 0.8]}
    write_json(tmp_path / "summary.json", {"recipe": "cycle", "metric": "word_error_rate", "systems": {"baseline": entry}})
    report.main(experiment(tmp_path))
    assert "20.0 to 80.0" in page(experiment(tmp_path))


@pytest.mark.usefixtures("only_svg")
def test_a_metric_that_is_no_error_rate(tmp_path: Path) -> None:
    systems = {name: {"value": value, "n": 10, "ci95": [value - 0.1, value + 0.1]} for name, value in (("baseline", 0.7), ("cycle", 0.9))}
    write_json(tmp_path / "summary.json", {"recipe": "cycle", "metric": "cider", "higher_is_better": True, "systems": systems})
    report.main(experiment(tmp_path))
    assert [r["rate"] for r in table(experiment(tmp_path), "systems")] == ["0.7", "0.9"] and "<td>0.9000</td>" in page(experiment(tmp_path))
    assert "“Confusions”" not in page(experiment(tmp_path)) and "fewer errors than" not in page(experiment(tmp_path))


@pytest.mark.usefixtures("hardly_drawn")
def test_stale_figures_go(tmp_path: Path) -> None:
    exp = scored(tmp_path)
    report.main(exp)
    (exp.path / "metrics.jsonl").unlink()
    report.main(exp)
    assert not list((exp.report / "figures").glob("losses.*"))
    assert json.loads((tmp_path / "summary.json").read_text())
