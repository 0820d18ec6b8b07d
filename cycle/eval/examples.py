"""Utterances that a round repaired or broke, reference and hypotheses side by side."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cycle.eval import story as told
from cycle.eval.errors import Step, align
from cycle.eval.story import Story

MOST = 6  # of each kind


@dataclass(frozen=True)
class Example:
    """One utterance.

    Attributes:
        hyps: (name, reference and hypothesis unit by unit) before and after.
        before, after: errors.
    """

    utt: str
    spk: str
    text: str
    ref: str
    before: int
    after: int
    hyps: tuple[tuple[str, list[Step]], ...]


@dataclass(frozen=True)
class Change:
    """What happened from one round (or system) to another."""

    title: str
    repaired: list[Example]
    broken: list[Example]


def changes(story: Story) -> list[Change]:
    """The scored systems against each other first, then round by round; nothing where the metric counts no errors."""
    if not story.counts_errors:
        return []
    systems = [(f"{name}", told.hypotheses(story.exp, name)) for name in ("baseline", story.recipe)]
    rounds = [(f"round {row['round']}", told.round_hypotheses(story, row["round"])) for row in story.rounds]
    pairs = [(systems[0], systems[1])]
    known = [pair for pair in rounds if pair[1]]
    if len(known) > 2 or (len(known) == 2 and story.best not in (1, None)):
        pairs += list(pairwise(known))
    texts = next((hyps for _, hyps in systems if hyps), {})
    return [_change(story, before, after, texts) for before, after in pairs if before[1] and after[1]]


def _change(story: Story, before: tuple[str, Any], after: tuple[str, Any], texts: dict[str, told.Row]) -> Change:
    """The utterances with the largest changes, equal ones by their id."""
    differ: dict[str, Example] = {}
    for utt in sorted(before[1].keys() & after[1].keys()):
        ref = story.units(before[1][utt]["ref"].split())
        hyps = tuple((name, align(ref, story.units(rows[utt]["hyp"].split()))) for name, rows in (before, after))
        errors = [sum(op != "=" for op, _, _ in steps) for _, steps in hyps]
        if errors[0] != errors[1]:
            row = texts.get(utt, {})
            head = (utt, str(row.get("spk") or ""), str(row.get("text") or ""), " ".join(ref))
            differ[utt] = Example(*head, errors[0], errors[1], hyps)
    by_change = sorted(differ.values(), key=lambda e: (e.after - e.before, e.utt))
    repaired = [e for e in by_change if e.after < e.before][:MOST]
    broken = sorted((e for e in by_change if e.after > e.before), key=lambda e: (e.before - e.after, e.utt))[:MOST]
    return Change(f"{before[0]} → {after[0]}", repaired, broken)
