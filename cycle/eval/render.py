"""The page of a report, from a story, tables and drawn figures. Every text is escaped: names and transcripts come from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cycle.config import flatten
from cycle.eval import examples, fonts, history, listening, selection, sound, tables
from cycle.eval.figures import Drawn
from cycle.eval.story import Story, number, score_of
from cycle.eval.style import Style

TEMPLATES = Path(__file__).parent / "page"
SECTIONS = ("results", "run", "curves", "errors", "changes", "alignment", "health", "comparison")  # that figures belong to
Table = dict[str, list[Any]]  # header, rows


def render(told: Story, results: Table, drawn: Sequence[Drawn], folder: Path, style: Style, compared: Table | None) -> str:
    """The whole page.

    Args:
        folder: holds the figures.
        compared: the table over several experiments, None for a report of one.
    """
    values = {
        "summary": told.summary,
        "counts_errors": told.counts_errors,
        "style": style,
        "results": results,
        "compared": compared,
        "drawn": {section: [picture(one, folder) for one in drawn if one.figure.section == section] for section in SECTIONS},
        "settings": sorted((key, str(value)) for key, value in flatten(asdict(told.exp.config)).items()),
        "contents": list(contents(compared is not None)),
        **sections(told),
        "missing": told.missing,
    }
    template = environment().get_template("report.html.j2")
    page = template.render(**values, web_font=None)
    font = fonts.web_font(fonts.wide([page]))  # holds just the characters that the page shows
    return template.render(**values, web_font=sound.address("font/woff", font)) if font else page


def environment() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def contents(compares: bool) -> Iterable[tuple[str, str]]:
    """Sections in their order."""
    yield "results", "Results"
    if compares:
        yield "comparison", "Comparison"
    yield from (("run", "What happened"), ("curves", "Curves"), ("errors", "Errors"), ("changes", "Repaired, broken"))
    yield from (("alignment", "Attention"), ("listening", "Listening"), ("selection", "Selection"), ("health", "Health"))
    yield "settings", "Settings"


def sections(told: Story) -> dict[str, Any]:
    """What the sections show beside figures; what cannot be read is left out and named."""
    recorded = history.about(told)
    versions = recorded.get("versions")
    return {
        "cards": told.attempt("Key figures", cards, told) or [],
        "rates": told.attempt("All rates", rate_table, told) or {"header": [], "rows": []},
        "pools": told.attempt("Pools", pool_rows, told) or [],
        "times": told.attempt("Time by stage", time_rows, told) or [],
        "commands": history.commands(told, recorded),
        "versions": sorted((str(k), str(v)) for k, v in versions.items()) if isinstance(versions, dict) else [],
        "rounds": round_table(told),
        "changes": told.attempt("Examples of what was repaired and broken", examples.changes, told) or [],
        "sessions": told.attempt("Listening", listening.sessions, told) or [],
        "choices": told.attempt("Kept and rejected", selection.choices, told) or [],
    }


def picture(drawn: Drawn, folder: Path) -> dict[str, str]:
    figure = drawn.figure
    source = sound.address("image/svg+xml", (folder / f"{figure.name}.svg").read_bytes())
    return {"name": figure.name, "title": figure.title, "caption": figure.caption, "alt": drawn.alt, "src": source}


def cards(told: Story) -> list[dict[str, str]]:
    """The few numbers that a reader wants first."""
    found = []
    error = told.counts_errors
    for system in dict.fromkeys(("baseline", told.recipe)):
        score = score_of(told.systems.get(system))
        if score is not None:
            found.append((f"{tables.percent(score)} %" if error else f"{score:.3g}", f"{system}: {'test error' if error else 'test'}"))
    reduction = number(told.summary.get("relative_reduction"))
    if reduction is not None and error:
        found.append(
            (f"{100 * abs(reduction):.1f} %", "fewer errors than the baseline" if reduction >= 0 else "more errors than the baseline")
        )
    done = [row["round"] for row in told.rounds]
    if done:
        best = f", round {told.best} is the best on dev" if told.best is not None else ""
        found.append((f"{max(done)} of {told.exp.config.rounds.count}", f"rounds finished{best}"))
    seconds = sum(time.seconds for time in history.times(told))
    if seconds:
        found.append((duration(seconds), "in all stages and controls"))
    return [{"value": value, "label": label} for value, label in found]


def duration(seconds: float) -> str:
    """3661 is "61 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def pool_rows(told: Story) -> list[list[str]]:
    def cell(value: float | None) -> str:
        return tables.NONE if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    return [[p.name, cell(p.utterances), cell(p.hours), cell(p.speakers), history.USES[p.name]] for p in history.pools(told)]


def time_rows(told: Story) -> list[list[str]]:
    times = history.times(told)
    whole = sum(time.seconds for time in times) or 1.0
    return [[t.stage, t.of, f"{t.seconds:.1f}", f"{100 * t.seconds / whole:.0f}", "" if t.done else "not finished"] for t in times]


def rate_table(told: Story) -> Table:
    """Every rate of every system in percent, where there is more than the metric's; of captions, every score and what they look like."""
    if not told.counts_errors:
        return score_table(told)
    by_system = {system: entry.get("rates") for system, entry in told.systems.items()}
    known = {system: rates for system, rates in by_system.items() if isinstance(rates, dict)}
    names = list(dict.fromkeys(name for rates in known.values() for name in rates))
    if len(names) < 2:
        return {"header": [], "rows": []}
    rows = [[system, *(_rate(rates.get(name)) for name in names)] for system, rates in known.items()]
    return {"header": ["system", *(f"{name} error %" for name in names)], "rows": rows}


def score_table(told: Story) -> Table:
    """Scores of captions by several metrics, their length and how many differ; those of people stand below."""
    looks = {system: {**entry.get("scores", {}), **entry.get("shape", {})} for system, entry in told.systems.items()}
    people = [entry["references"] for entry in told.systems.values() if "references" in entry]
    looks |= {"references": people[0]} if people else {}
    names = list(dict.fromkeys(name for look in looks.values() for name in look))
    return {"header": ["system", *names], "rows": [[system, *(_cell(look.get(name)) for name in names)] for system, look in looks.items()]}


def _rate(entry: Any) -> str:
    rate = number(entry.get("rate")) if isinstance(entry, dict) else None
    return tables.NONE if rate is None else f"{tables.percent(rate)} ({tables.span(entry['ci95'])})"


def round_table(told: Story) -> Table:
    """Every number known of each round; a whole search, which it was judged by, is in its metrics.json."""
    names = list(dict.fromkeys(["round", *(key for row in told.rounds for key, value in row.items() if not isinstance(value, dict))]))
    return {"header": names, "rows": [[_cell(row.get(name)) for name in names] for row in told.rounds]}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return tables.NONE if value is None else str(value)
