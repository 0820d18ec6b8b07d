"""What a report tells, read from the files of an experiment; what is missing is named, not guessed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cycle.experiment import Experiment
from cycle.files import read_json, read_jsonl


@dataclass
class Story:
    """One experiment as its report sees it.

    Attributes:
        summary: summary.json.
        rounds: one flat object a round, its monitors and evaluation merged; `round` is its number.
        best: the round that is the recipe's system, None where it is not known.
        losses: lines of metrics.jsonl: phase, step, and a value by name.
        per_utt: utterance, speaker, errors and reference units, by system.
        missing: what a reader would expect and does not find, one sentence each.
    """

    exp: Experiment
    summary: dict[str, Any]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None
    losses: list[dict[str, Any]] = field(default_factory=list)
    per_utt: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def systems(self) -> dict[str, dict[str, Any]]:
        """Entries of summary.json by system, those with a rate; a value of a metric that is no error rate stands for it."""
        entries = {name: {"rate": entry.get("value"), **entry} for name, entry in self.summary["systems"].items()}
        return {name: entry for name, entry in entries.items() if entry["rate"] is not None}


def read(exp: Experiment, summary: dict[str, Any]) -> Story:
    """Gathers what there is."""
    story = Story(exp, summary)
    story.missing += [f"System {system}: {reason}." for system, reason in summary.get("missing", {}).items()]
    _read_rounds(story)
    story.losses = _losses(exp.path / "metrics.jsonl")
    for system in story.systems:
        file = exp.scores / system / "per_utt.tsv"
        if summary.get("higher_is_better"):
            continue  # values have no errors to count
        if file.is_file():
            story.per_utt[system] = _per_utt(file)
        else:
            story.missing.append(f"Errors per utterance of {system} ({file.name}): run stage 6 again.")
    return story


def number(value: Any) -> float | None:
    """The value as a number, None for what is none or not finite."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _read_rounds(story: Story) -> None:
    evaluated = {row["round"]: row for row in story.summary.get("rounds", [])}
    monitors: dict[int, dict[str, Any]] = {}
    for done in story.exp.rounds_done():
        monitors[done] = _json(story.exp.round(done) / "metrics.json")
        if not monitors[done]:
            story.missing.append(f"Monitors of round {done} (metrics.json).")
    if not evaluated:
        story.missing.append("Evaluation of the rounds (decode/rounds.json): run stage 5 again.")
    numbers = sorted(set(monitors) | set(evaluated))
    story.rounds = [{"round": i, **monitors.get(i, {}), **_known(evaluated.get(i, {}))} for i in numbers]
    if len(numbers) < 2:
        story.missing.append("Rounds of the cycle: only pretraining is finished.")
    best = _json(story.exp.path / "rounds.json").get("best")
    story.best = best if isinstance(best, int) else None


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where it is missing or broken."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _losses(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics that can be read: the last may be cut short by a kill."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and "phase" in row and number(row.get("step")) is not None:
            rows.append(row)
    return rows


def _per_utt(path: Path) -> list[dict[str, Any]]:
    header, *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return [{"utt": r["utt"], "spk": r["spk"], "errors": int(r["sub"]) + int(r["ins"]) + int(r["del"]), "ref": int(r["ref"])} for r in rows]


def hypotheses(exp: Experiment, system: str) -> dict[str, dict[str, Any]]:
    """Decoded test utterances of a system by id; none where they are missing."""
    path = exp.decoded(system) / "test.jsonl"
    return {row["utt"]: row for row in read_jsonl(path)} if path.is_file() else {}
