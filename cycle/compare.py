"""One table over experiments: rates or values, intervals, relative change, paired bootstrap p-values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cycle.command import again
from cycle.errors import UserError
from cycle.eval import per_utt, tables
from cycle.eval.bootstrap import paired_p
from cycle.eval.per_utt import PerUtt
from cycle.files import read_json, write_json

HEADER = ("experiment", "system", "unit", "error %", "95 % interval", "errors/ref", "fewer errors %", "p to baseline", "p to recipe")
VALUES = ("experiment", "system", "metric", "value", "95 % interval", "n", "gain %", "p to baseline", "p to recipe")


@dataclass(frozen=True)
class Row:
    """One system of one experiment, judged by errors.

    Attributes:
        rate: errors as a share of the reference; ci95: its interval.
        relative_reduction: 1 - rate / the same experiment's baseline.
        p_baseline: two-sided paired bootstrap against that baseline; None for itself or where it cannot be told.
        p_recipe: the same against the system of the recipe.
    """

    experiment: str
    system: str
    unit: str
    errors: int
    ref: int
    rate: float
    ci95: tuple[float, float]
    relative_reduction: float | None
    p_baseline: float | None
    p_recipe: float | None

    def cells(self) -> tuple[str, ...]:
        return (
            self.experiment,
            self.system,
            self.unit,
            tables.percent(self.rate, 2),
            tables.span(self.ci95),
            f"{self.errors}/{self.ref}",
            tables.signed_percent(self.relative_reduction),
            tables.p_value(self.p_baseline),
            tables.p_value(self.p_recipe),
        )


@dataclass(frozen=True)
class ValueRow:
    """One system of one experiment whose metric is no error rate: the mean of a value over n items.

    Attributes:
        relative_gain: value / the same experiment's baseline - 1.
        p_baseline, p_recipe: as in `Row`.
    """

    experiment: str
    system: str
    metric: str
    value: float
    n: int
    ci95: tuple[float, float]
    relative_gain: float | None
    p_baseline: float | None
    p_recipe: float | None

    def cells(self) -> tuple[str, ...]:
        return (
            self.experiment,
            self.system,
            self.metric,
            f"{self.value:.4f}",
            f"{self.ci95[0]:.4f} to {self.ci95[1]:.4f}",
            str(self.n),
            tables.signed_percent(self.relative_gain),
            tables.p_value(self.p_baseline),
            tables.p_value(self.p_recipe),
        )


def main(paths: list[Path], json_file: Path | None = None, markdown: bool = False) -> int:
    """Prints the table.

    Args:
        json_file: also gets the rows, as JSON.
        markdown: print it to be pasted into a README.

    Raises:
        UserError: a path is no finished experiment.
    """
    rows, notes = compare(paths)
    draw = tables.markdown if markdown else tables.plain
    kinds = [
        (HEADER, [row.cells() for row in rows if isinstance(row, Row)]),
        (VALUES, [r.cells() for r in rows if isinstance(r, ValueRow)]),
    ]
    print("\n".join(draw(header, cells, left=3) for header, cells in kinds if cells or (not rows and header is HEADER)), end="")
    for note in notes:
        print(f"\n{note}" if markdown else note)
    if json_file:
        write_json(json_file, {"rows": [asdict(row) for row in rows], "notes": notes})
    return 0


def compare(paths: list[Path]) -> tuple[list[Row | ValueRow], list[str]]:
    """The rows of every experiment, and what a reader must know about those that lack something."""
    rows: list[Row | ValueRow] = []
    notes: list[str] = []
    twice = [path for path in paths if [other.resolve() for other in paths].count(path.resolve()) > 1]
    if twice:
        raise UserError("is named twice", twice[0], "name each experiment once")
    for path in paths:
        found, missing = rows_of(path, read_summary(path))
        rows += found
        notes += missing
    return rows, notes


def rows_of(path: Path, summary: dict[str, Any]) -> tuple[list[Row | ValueRow], list[str]]:
    """The same of one experiment, whose summary has been read."""
    notes = [f"{path}: {system} is missing: {reason}" for system, reason in summary.get("missing", {}).items()]
    entries: dict[str, Any] = {}
    for system, entry in summary["systems"].items():
        if entry:
            entries[system] = entry
        else:
            notes.append(f"{path}: {system} has no score")
    files = {system: path / "score" / system / "per_utt.tsv" for system in entries}
    counted = {system: per_utt.read(file) if file.is_file() else None for system, file in files.items()}
    baseline = entries.get("baseline")
    rows: list[Row | ValueRow] = []
    for system, entry in entries.items():
        ps: list[float | None] = []
        for other in ("baseline", summary["recipe"]):
            p, why = _paired(counted, system, other)
            ps.append(p)
            notes += [f"{path}: no p-value of {system} against {other}: {why}"] if why else []
        rows.append(_row(path, system, summary, entry, baseline if system != "baseline" else None, ps))
    return rows, notes


def _row(
    path: Path, system: str, summary: dict[str, Any], entry: dict[str, Any], baseline: dict[str, Any] | None, ps: list[float | None]
) -> Row | ValueRow:
    span = (entry["ci95"][0], entry["ci95"][1])
    figure = "value" if "value" in entry else "rate"
    ratio = entry[figure] / baseline[figure] if baseline and baseline[figure] else None
    if figure == "value":
        gain = None if ratio is None else ratio - 1
        return ValueRow(str(path), system, summary["metric"], entry["value"], entry["n"], span, gain, *ps)
    reduction, unit = None if ratio is None else 1 - ratio, summary.get("unit", summary["metric"])
    return Row(str(path), system, unit, entry["errors"], entry["ref"], entry["rate"], span, reduction, *ps)


def _paired(counted: dict[str, PerUtt | None], system: str, other: str) -> tuple[float | None, str | None]:
    """The p-value, or why there is none; neither for a system against itself or against one that was not run."""
    if system == other or other not in counted:
        return None, None
    ours, theirs = counted[system], counted[other]
    if ours is None or theirs is None:
        return None, "errors per utterance are missing, run stage 6 again"
    if {utt: ref for utt, (_, ref) in ours.items()} != {utt: ref for utt, (_, ref) in theirs.items()}:
        return None, "they were scored on different utterances"
    utts = sorted(ours)
    ours_errors, theirs_errors, refs = ([of[utt][i] for utt in utts] for of, i in ((ours, 0), (theirs, 0), (ours, 1)))
    return paired_p(ours_errors, theirs_errors, refs), None


def _command(path: Path) -> str:
    """The command line that finishes an experiment, where it has noted one."""
    about = path / "experiment.json"
    words = read_json(about).get("command") if about.is_file() else None
    return f": {again([str(word) for word in words], str(path.resolve()))}" if words else ""


def read_summary(path: Path) -> dict[str, Any]:
    """summary.json of a finished experiment.

    Raises:
        UserError: there is none, or it is not one of ours.
    """
    file = path / "summary.json"
    if not file.is_file():
        raise UserError("is no finished experiment (it has no summary.json)", path, f"finish it first{_command(path)}")
    try:
        summary = read_json(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError("is not JSON", file, "score again: python -m cycle score") from error
    if not isinstance(summary, dict) or not {"systems", "recipe", "metric"} <= summary.keys():
        raise UserError(
            "is no summary of an experiment (systems, recipe and metric are needed)", file, "score again: python -m cycle score"
        )
    return summary
