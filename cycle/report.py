"""Stage 7: the result table, figures with the numbers behind them, and one self-contained page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cycle import compare
from cycle.config import as_dict, flatten
from cycle.data.text import Spelling, spelling
from cycle.eval import figures, plots, story, tables
from cycle.eval.errors import align
from cycle.eval.story import Story
from cycle.experiment import Experiment
from cycle.files import atomic_dir, write_text
from cycle.log import log

HEAD = (
    "corpus",
    "seed",
    "preset",
    "device",
    "seconds",
    "relative_reduction",
    "higher_is_better",
)  # of summary.json, null where an older one lacks them
Table = dict[str, list[Any]]  # header, rows


def main(exp: Experiment) -> None:
    """Logs the result table; writes `exp.report`.

    Raises:
        UserError: the experiment is not scored yet.
    """
    told = story.read(exp, compare.read_summary(exp.root))
    results = result_table(exp, told)
    log.info("results:\n%s", tables.plain(results["header"], results["rows"]).rstrip())
    with atomic_dir(exp.report) as folder:
        made = figures.write_all(plots.FIGURES, told, folder / "figures")
        write_text(folder / "report.html", page(told, results, made, folder / "figures", spelling(exp.config.corpus.language)))
    for line in told.missing:
        log.warning("the report lacks something: %s", line)
    log.info("report: %s", exp.report / "report.html")


def result_table(exp: Experiment, told: Story) -> Table:
    """The systems as `compare` shows them; its notes join what is missing."""
    rows, notes = compare.compare([exp.root])
    told.missing += [note.removeprefix(f"{exp.root}: ") for note in notes if " is missing: " not in note]
    header = compare.VALUES if told.summary.get("higher_is_better") else compare.HEADER
    return {"header": list(header[1:]), "rows": [list(row.cells()[1:]) for row in rows]}


def page(told: Story, results: Table, made: list[figures.Figure], drawn: Path, language: Spelling) -> str:
    """The whole page with the figures that lie in `drawn`; every text is escaped, since names and transcripts come from outside."""
    environment = Environment(
        loader=FileSystemLoader(Path(figures.__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        summary={**dict.fromkeys(HEAD), **told.summary},
        results=results,
        rates=rate_table(told),
        missing=told.missing,
        figures=[
            {
                "name": f.name,
                "title": f.title,
                "caption": f.caption,
                "png": base64.b64encode((drawn / f"{f.name}.png").read_bytes()).decode(),
            }
            for f in made
        ],
        rounds=round_table(told),
        examples=[
            {"name": "repaired", "title": "Most repaired", "rows": examples(told, language, worse=False)},
            {"name": "broken", "title": "Most broken", "rows": examples(told, language, worse=True)},
        ],
        settings=sorted((key, str(value)) for key, value in flatten(as_dict(told.exp.config)).items()),
    )


def rate_table(told: Story) -> Table:
    """Every rate of every system in percent, where there is more than the metric's; of captions, every score and what they look like."""
    if told.summary.get("higher_is_better"):
        return score_table(told)
    names = list(dict.fromkeys(name for entry in told.systems.values() for name in entry.get("rates", {})))
    if len(names) < 2:
        return {"header": [], "rows": []}
    rows = [[system, *(_rate(entry.get("rates", {}).get(name)) for name in names)] for system, entry in told.systems.items()]
    return {"header": ["system", *(f"{name} error %" for name in names)], "rows": rows}


def score_table(told: Story) -> Table:
    """Scores of captions by several metrics, their length and how many differ; those of people stand below."""
    looks = {system: {**entry.get("scores", {}), **entry.get("shape", {})} for system, entry in told.systems.items()}
    people = [entry["references"] for entry in told.systems.values() if "references" in entry]
    looks |= {"references": people[0]} if people else {}
    names = list(dict.fromkeys(name for look in looks.values() for name in look))
    return {"header": ["system", *names], "rows": [[system, *(_cell(look.get(name)) for name in names)] for system, look in looks.items()]}


def _rate(entry: dict[str, Any] | None) -> str:
    return f"{tables.percent(entry['rate'])} ({tables.span(entry['ci95'])})" if entry else tables.NONE


def round_table(told: Story) -> Table:
    """Everything known of each round."""
    names = list(dict.fromkeys(["round", *(key for row in told.rounds for key in row)]))
    return {"header": names, "rows": [[_cell(row.get(name)) for name in names] for row in told.rounds]}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return tables.NONE if value is None else str(value)


def examples(told: Story, language: Spelling, worse: bool, most: int = 10) -> list[dict[str, Any]]:
    """Utterances of which the recipe's system makes far more (or fewer) errors than the baseline, the largest change first."""
    recipe = told.summary["recipe"]
    pair = [{row["utt"]: row for row in told.per_utt.get(system, [])} for system in ("baseline", recipe)]
    changes = {utt: pair[1][utt]["errors"] - before["errors"] for utt, before in pair[0].items() if utt in pair[1]}
    sign = 1 if worse else -1
    chosen = sorted((utt for utt, change in changes.items() if sign * change > 0), key=lambda utt: (-sign * changes[utt], utt))[:most]
    decoded = {system: story.hypotheses(told.exp, system) for system in ("baseline", recipe)} if chosen else {}
    units = next(iter(language.rates.values()))
    found = []
    for utt in chosen:
        rows = {system: hyps[utt] for system, hyps in decoded.items() if utt in hyps}
        if len(rows) < 2:  # scored once, but the decodings are gone
            continue
        ref = units(rows[recipe]["ref"].split())
        hyps = [(system, align(ref, units(row["hyp"].split()))) for system, row in rows.items()]
        before, after = (side[utt]["errors"] for side in pair)
        head = {"utt": utt, "spk": pair[0][utt]["spk"], "text": rows[recipe].get("text"), "ref": " ".join(ref)}
        found.append({**head, "before": before, "after": after, "hyps": hyps})
    return found
