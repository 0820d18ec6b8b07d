"""Stage 7: the result table, figures with the numbers behind them, and one self-contained page. At any moment of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cycle import compare
from cycle.eval import figures, plots, story, tables
from cycle.eval.plots.comparison import Told, named
from cycle.eval.render import Table, render
from cycle.eval.story import Story
from cycle.eval.style import STYLES, Style
from cycle.experiment import Experiment
from cycle.files import atomic_dir, write_text
from cycle.log import log


def main(exp: Experiment, style: str = "plain", others: Sequence[Experiment] = (), notes: Sequence[str] = ()) -> None:
    """Logs the result table; writes `exp.report`.

    Args:
        style: one of `cycle.eval.style.STYLES`.
        others: experiments that it is compared with, in a section of its own.
        notes: what is known to be missing already.
    """
    told = read(exp)
    told.missing[:0] = notes
    compared = named([told, *(story.read(other) for other in others)]) if others else []
    with atomic_dir(exp.report) as folder:
        write(told, compared, folder, STYLES[style])
    for line in told.missing:
        log.warning("the report lacks something: %s", line)
    log.info("report: %s", exp.report / "report.html")


def read(exp: Experiment) -> Story:
    """The story of an experiment with what only its models and objectives can tell."""
    told = story.read(exp)
    told.trains = trains(told)
    told.samples = look(told)
    return told


def write(told: Story, compared: list[Told], folder: Path, style: Style) -> None:
    """The figures, then the page that holds them."""
    results = result_table(told)
    if results["rows"]:
        log.info("results:\n%s", tables.plain(results["header"], results["rows"]).rstrip())
    wanted = [*plots.FIGURES, *(plots.of_comparison(compared) if compared else [])]
    drawn = figures.write_all(wanted, told, folder / "figures", style)
    beside = comparison_table(told, compared) if compared else None
    write_text(folder / "report.html", render(told, results, drawn, folder / "figures", style, beside))


def trains(told: Story) -> dict[str, list[str]]:
    """The models that each objective of the recipe moves, where it can be built."""
    from cycle.objectives.base import create

    found: dict[str, list[str]] = {}
    for name, conf in told.exp.config.rounds.objectives.items():
        where = f"rounds.objectives.{name}"
        made = told.attempt(f"What {where} trains", create, conf.use, conf.args, where)
        found[name] = [str(model) for model in sorted(made.trains)] if made else []
    return found


def look(told: Story) -> list[Any]:
    """Samples of the rounds; none, and a line that says why, where the models cannot be opened."""
    if not told.exp.rounds_done() or not told.counts_errors:  # captions say what is heard in an order of their own
        return []
    from cycle.eval import closeup

    try:
        return closeup.of(told)
    except Exception as error:  # a checkpoint of another version fails in ways of torch's and ESPnet's own
        told.lacks(f"Attention, alignment and synthetic speech: the models cannot be asked, {story.reason(error)}.")
        return []


def result_table(told: Story) -> Table:
    """The systems as `compare` shows them; its notes join what is missing."""
    rows, lost = _rows(told)
    told.lacks(*lost)
    return {"header": list(_header(told)[1:]), "rows": [row[1:] for row in rows]}


def comparison_table(told: Story, compared: list[Told]) -> Table:
    """The systems of every experiment."""
    rows: list[list[str]] = []
    for one in compared:
        found, lost = _rows(one.story)
        rows += [[one.name, *row[1:]] for row in found]
        told.lacks(*(f"{one.name}: {line}" for line in (*one.story.missing, *lost) if one.story is not told))
    return {"header": list(_header(told)), "rows": rows, "names": [one.name for one in compared]}


def _header(told: Story) -> tuple[str, ...]:
    return compare.HEADER if told.counts_errors else compare.VALUES


def _rows(told: Story) -> tuple[list[list[str]], list[str]]:
    """Rows of `compare`, and notes; a system that lacks counts or an interval keeps its score."""
    whole = {name: entry for name, entry in told.systems.items() if _complete(entry)}
    root = told.exp.root
    notes: list[str] = []
    summary = {**told.summary, "systems": whole, "missing": {}}
    found, said = told.attempt("Table of results", compare.rows_of, root, summary) or ([], [])
    notes += [note.removeprefix(f"{root}: ") for note in said]
    cells = {row.system: list(row.cells()) for row in found}
    for name, entry in told.systems.items():
        if name not in cells:
            notes.append(f"System {name}: its entry in summary.json lacks counts or an interval.")
            score = story.score_of(entry)
            shown = tables.percent(score, 2) if "rate" in entry else f"{score:.4g}"
            cells[name] = [str(root), name, str(told.summary["unit"]), shown, *[tables.NONE] * (len(_header(told)) - 4)]
    return [cells[name] for name in told.systems], notes


def _complete(entry: dict[str, Any]) -> bool:
    span = entry.get("ci95")
    counts = ("value", "n") if "value" in entry else ("rate", "errors", "ref")
    numbers = [*(entry.get(name) for name in counts), *(span if isinstance(span, list) else [None])]
    return len(numbers) == len(counts) + 2 and all(story.number(value) is not None for value in numbers)
