"""What a report tells, read from the files of an experiment, finished or not; what is missing is named, not guessed."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cycle.data.text import Spelling, Units, spelling
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json, read_jsonl, read_tsv

if TYPE_CHECKING:
    from cycle.eval.samples import Sample

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error, UserError)  # what damaged files lead to
Row = dict[str, Any]


@dataclass
class Story:
    """One experiment as its report sees it.

    Attributes:
        summary: summary.json, or what it would begin with.
        language: how its texts are spelled.
        rounds: one flat object a round, its monitors and evaluation merged; `round` is its number.
        best: the round that is the recipe's system, None where it is not known.
        losses: lines of metrics.jsonl: phase, step, and a value by name.
        per_utt: utterance, speaker, errors by kind and reference units, by system.
        trains: the models that each objective of the recipe moves, where that is known.
        samples: a few utterances as the models of the rounds see and say them.
        missing: what a reader would expect and does not find, one sentence each.
    """

    exp: Experiment
    summary: dict[str, Any]
    language: Spelling = field(default_factory=lambda: spelling("cmn"))
    rounds: list[Row] = field(default_factory=list)
    best: int | None = None
    losses: list[Row] = field(default_factory=list)
    per_utt: dict[str, list[Row]] = field(default_factory=dict)
    trains: dict[str, list[str]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def systems(self) -> dict[str, dict[str, Any]]:
        """Entries of summary.json by system, those with a rate (or, for a metric that is no error rate, a value)."""
        return {name: entry for name, entry in self.summary["systems"].items() if score_of(entry) is not None}

    @property
    def recipe(self) -> str:
        return str(self.summary["recipe"])

    @property
    def counts_errors(self) -> bool:
        """Whether the metric is an error rate, so that there are errors to look at."""
        return str(self.summary["metric"]).endswith("error_rate")

    @property
    def units(self) -> Units:
        """Tokens to what the metric counts."""
        return next(iter(self.language.rates.values()))

    def lacks(self, *lines: str) -> None:
        """Adds lines to `missing`, each once."""
        self.missing += [line for line in dict.fromkeys(lines) if line not in self.missing]

    def attempt[**P, T](self, what: str, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `make` returns; None where the files it reads are damaged or missing, and a line that says so."""
        try:
            return make(*args, **kwargs)
        except UNREADABLE as error:
            self.lacks(f"{what}: {reason(error)}.")
            return None


def reason(error: BaseException) -> str:
    """An exception in one line."""
    said = " ".join(str(error).split())[:200]
    return said if isinstance(error, UserError) else f"{type(error).__name__}{f' ({said})' if said else ''}"


def number(value: Any) -> float | None:
    """The value as a number, None for what is none or not finite."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def score_of(entry: Any) -> float | None:
    """The rate of a system, or its value where the metric is no error rate."""
    if not isinstance(entry, dict):
        return None
    rate = number(entry.get("rate"))
    return number(entry.get("value")) if rate is None else rate


def read(exp: Experiment, summary: dict[str, Any] | None = None) -> Story:
    """Gathers what there is.

    Args:
        summary: summary.json, where the caller has read it already.
    """
    story = Story(exp, {})
    story.language = story.attempt("Units of this language", spelling, exp.config.corpus.language) or story.language
    story.summary = _summary(story) if summary is None else {**_begin(story), **summary}
    told = story.summary.get("missing")
    story.lacks(*(f"System {system}: {why}." for system, why in (told if isinstance(told, dict) else {}).items()))
    _read_rounds(story)
    story.losses = _losses(exp.path / "metrics.jsonl")
    for system, entry in story.summary["systems"].items():
        if score_of(entry) is None:
            story.lacks(f"System {system}: its score is no number.")
            continue
        if not story.counts_errors:
            continue
        file = exp.scores / system / "per_utt.tsv"
        rows = story.attempt(f"Errors per utterance of {system} ({file.name})", _per_utt, file)
        if rows:
            story.per_utt[system] = rows
    return story


def _begin(story: Story) -> dict[str, Any]:
    """What is known of an experiment before it is scored."""
    exp = story.exp
    names = {"corpus": exp.corpus, "recipe": exp.recipe, "seed": exp.config.seed, "preset": exp.config.preset, "device": exp.device}
    nothing: dict[str, Any] = {"seconds": None, "relative_reduction": None, "gap_recovered": None, "systems": {}, "rounds": []}
    return {**names, **nothing, "metric": story.language.metric, "unit": next(iter(story.language.rates))}


def _summary(story: Story) -> dict[str, Any]:
    """summary.json over what is known without it."""
    file = story.exp.summary
    if not file.is_file():
        story.lacks("Scores (summary.json): stages 5 and 6 have not been run yet. The same ./run.sh goes on.")
        return _begin(story)
    found = story.attempt("Scores (summary.json)", _object, file) or {}
    for key, kind in (("systems", dict), ("rounds", list), ("recipe", str), ("metric", str)):
        if not isinstance(found.get(key), kind):
            if key in found or key in ("systems", "recipe", "metric"):
                story.lacks(f"Scores: summary.json has no {key} that can be read.")
            found.pop(key, None)
    return {**_begin(story), **found}


def _read_rounds(story: Story) -> None:
    listed = story.summary.get("rounds")
    rows = [row for row in (listed if isinstance(listed, list) else []) if isinstance(row, dict) and number(row.get("round")) is not None]
    evaluated = {int(row["round"]): row for row in rows}
    monitors: dict[int, Row] = {}
    for done in story.exp.rounds_done():
        monitors[done] = _json(story.exp.round(done) / "metrics.json")
        if not monitors[done]:
            story.lacks(f"Monitors of round {done} (metrics.json).")
    if not evaluated:
        story.lacks("Evaluation of the rounds (decode/rounds.json): stage 5 has not been run.")
    numbers = sorted(set(monitors) | set(evaluated))
    story.rounds = [{**monitors.get(i, {}), **_known(evaluated.get(i, {})), "round": i} for i in numbers]
    if len(numbers) < 2:
        story.lacks("Rounds of the cycle: " + ("only pretraining is finished." if numbers else "not even pretraining is finished."))
    best = _json(story.exp.path / "rounds.json").get("best")
    story.best = best if isinstance(best, int) else None


def _known(row: Row) -> Row:
    return {key: value for key, value in row.items() if value is not None}


def _object(path: Path) -> dict[str, Any]:
    return dict(read_json(path))


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where it is missing or broken."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _losses(path: Path) -> list[Row]:
    """Lines of metrics that can be read: the last may be cut short by a kill."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and "phase" in row and number(row.get("step")) is not None:
            rows.append(row)
    return rows


def _per_utt(path: Path) -> list[Row]:
    rows = list(read_tsv(path))
    if not rows:
        raise ValueError("holds no utterance")
    kinds = [{"sub": int(r["sub"]), "ins": int(r["ins"]), "del": int(r["del"])} for r in rows]
    return [
        {"utt": r["utt"], "spk": r["spk"], **kind, "errors": sum(kind.values()), "ref": int(r["ref"])}
        for r, kind in zip(rows, kinds, strict=True)
    ]


def hypotheses(exp: Experiment, system: str) -> dict[str, Row]:
    """Decoded test utterances of a system by id; none where they are missing."""
    return _decodings(exp.decoded(system) / "test.jsonl")


def round_hypotheses(story: Story, number: int) -> dict[str, Row]:
    """What a round made of test; the scored systems stand in for their rounds in experiments that kept no more."""
    found = _decodings(story.exp.decoded_round(number))
    if not found and number in (0, story.best):
        found = hypotheses(story.exp, story.recipe if number == story.best else "baseline")
    return found


def _decodings(path: Path) -> dict[str, Row]:
    rows = read_jsonl(path) if path.is_file() else []
    return {row["utt"]: row for row in rows if isinstance(row.get("ref"), str) and isinstance(row.get("hyp"), str)}
