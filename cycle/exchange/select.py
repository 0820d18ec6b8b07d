"""What is kept of the exchange, and why the rest is not: each rule a small function that a recipe names.

A rule takes the items, the round's number (from 1), what it may know of the paired pool, and its arguments. It returns whether each item is
kept, and a function that says the reason against one. Rules run in order on what the rules before them kept. An argument given as a list
holds one value a round, the last one staying.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycle.data.schemas import LABEL, SPOKEN
from cycle.data.table import Table
from cycle.errors import UserError
from cycle.eval.errors import distance
from cycle.settings import Rule, of_round

type Verdict = tuple[NDArray[np.bool_], Callable[[int], str]]


def not_empty(labels: Table, number: int, context: dict[str, Any]) -> Verdict:
    """Drops empty hypotheses."""
    return labels.numbers("tokens") > 0, lambda i: "empty"


def pace(labels: Table, number: int, context: dict[str, Any], slack: float = 1.3) -> Verdict:
    """Drops transcripts whose frames per token lie outside the paired pool's, with some slack."""
    low, high = context["frames_per_token"]
    values = labels.numbers("frames") / np.maximum(1, labels.numbers("tokens"))
    return (low / slack <= values) & (values <= high * slack), lambda i: f"pace: {values[i]:.1f} frames a token"


def known_tokens(labels: Table, number: int, context: dict[str, Any]) -> Verdict:
    """Drops transcripts with a token that the paired pool does not hold."""
    known = np.array([set(text.split()) <= context["paired_tokens"] for text in labels.column("text")], dtype=np.bool_)
    return known, lambda i: "unknown token"


def _first(labels: Table) -> NDArray[np.float64]:
    """The synthesiser's score of the chosen hypothesis, minus infinity where it has none."""
    return np.array([s[0] if s and s[0] is not None else -np.inf for s in labels.column("tts")])


CONFIDENCES: dict[str, Callable[[Table], NDArray[np.float64]]] = {
    "logp": lambda t: t.numbers("logp") / np.maximum(1, t.numbers("tokens")),  # probability of the whole hypothesis, per token
    "combined": lambda t: (t.numbers("logp") + 0.3 * t.numbers("prior")) / np.maximum(1, t.numbers("tokens")),
    "posterior": lambda t: t.numbers("posterior"),
    "tts": _first,
}


def confidence(labels: Table, number: int, context: dict[str, Any], keep: Any = 0.5, by: str = "logp") -> Verdict:
    """Keeps the most confident share of the whole pool, and nothing that has no score.

    Args:
        keep: share, or one a round (a curriculum).
        by: logp (log-probability of the whole hypothesis per token), combined (with the prior), posterior (share of the N-best list), tts.
    """
    if by not in CONFIDENCES:
        raise UserError(f"confidence: no measure {by!r}", "select_labels", f"choose one of: {', '.join(CONFIDENCES)}")
    values = CONFIDENCES[by](labels)
    share = of_round(keep, number)
    if not 0 <= share <= 1:
        raise UserError(f"confidence: keep: {share}", "select_labels", "a share from 0 to 1, or a list with one a round")
    count = min(len(values), round(share * context["pool"]))
    if count == 0:
        return np.zeros(len(values), dtype=np.bool_), lambda i: f"confidence: none kept in round {number}"
    bar = np.sort(values)[::-1][count - 1]
    return (values >= bar) & (values > -np.inf), lambda i: f"confidence: {values[i]:.3f} below {bar:.3f}"


def tts_agrees(labels: Table, number: int, context: dict[str, Any], margin: float = 0.0) -> Verdict:
    """Drops labels where the synthesiser explains another hypothesis of the list better by more than `margin`."""
    others = [max([s for s in scores[1:] if s is not None], default=-np.inf) for scores in labels.column("tts")]
    mine = _first(labels)
    lead = np.where(np.isfinite(mine), np.array(others, dtype=np.float64) - np.where(np.isfinite(mine), mine, 0.0), -np.inf)
    return lead <= margin, lambda i: f"synthesiser prefers another by {lead[i]:.3f}"


def finite(spoken: Table, number: int, context: dict[str, Any]) -> Verdict:
    """Drops synthetic speech with values that are not numbers, or without a frame."""
    return spoken.numbers("finite").astype(np.bool_) & (spoken.numbers("frames") > 1), lambda i: "not finite"


def heard(spoken: Table, number: int, context: dict[str, Any], most: Any = 1.0) -> Verdict:
    """Drops synthetic speech of which the recogniser gets more than this share of the tokens wrong."""
    pairs = ((said.split(), got.split()) for said, got in zip(spoken.column("text"), spoken.column("heard"), strict=True))
    rates = np.array([distance(said, got) / max(1, len(said)) for said, got in pairs])
    return rates <= of_round(most, number), lambda i: f"heard: {rates[i]:.2f} wrong"


type RuleFunction = Callable[..., Verdict]
LABEL_RULES: dict[str, RuleFunction] = {f.__name__: f for f in (not_empty, pace, known_tokens, confidence, tts_agrees)}
SYNTHETIC_RULES: dict[str, RuleFunction] = {f.__name__: f for f in (finite, heard)}


def needs_judge(rule: Rule) -> bool:
    """Whether a rule looks at the synthesiser's scores."""
    return rule.rule == "tts_agrees" or (rule.rule == "confidence" and rule.args.get("by") == "tts")


@dataclass
class Selection:
    """What the rules made of a table.

    Attributes:
        kept: places of what is kept.
        reasons: for each rule, places of what it dropped, and its reason against the n-th of them.
    """

    kept: NDArray[np.int64]
    reasons: list[tuple[NDArray[np.int64], Callable[[int], str]]]

    def rejected(self) -> Iterator[tuple[int, str]]:
        """Places and reasons, rule by rule."""
        for places, why in self.reasons:
            for n, place in enumerate(memoryview(places)):
                yield place, why(n)

    def drop(self, lost: NDArray[np.bool_], reason: str) -> None:
        """Rejects some of what is kept for a reason that no rule knows."""
        self.reasons.append((self.kept[lost], lambda n: reason))
        self.kept = self.kept[~lost]


def _labels() -> Table:
    row = {"text": "a b", "frames": 40, "tokens": 2, "logp": -1.0, "prior": -2.0, "posterior": 0.6, "nbest": ["a b", "b"],
           "posteriors": [0.6, 0.4], "tts": [-0.5, -0.6], "judged": 2}  # fmt: skip
    return Table.of([{"utt": "u1", **row}, {"utt": "u2", **row}], LABEL)


def _spoken() -> Table:
    row = {"spk": "s", "text": "a b", "frames": 40, "heard": "a b", "finite": True, "duration_std": 0.3, "pitch_std": 0.3}
    return Table.of([{"utt": "u1", **row}, {"utt": "u2", **row}], SPOKEN)


CONTEXT: dict[str, Any] = {"pool": 2, "paired_tokens": {"a", "b"}, "frames_per_token": (10.0, 30.0)}


def _judged(name: str, verdict: Any, count: int) -> None:
    """Raises UserError for what is no verdict on so many items."""
    keep, why = verdict if isinstance(verdict, tuple) and len(verdict) == 2 else (None, None)
    if not isinstance(keep, np.ndarray) or keep.dtype != np.bool_ or keep.shape != (count,) or not callable(why):
        remedy = "return an array with True for each item that is kept, and a function from a place to the reason against it"
        raise UserError(f"rule {name!r} returns no verdict", "select", remedy)


def check(rules: Sequence[Rule], known: dict[str, RuleFunction], where: str) -> None:
    """Tries each rule on two utterances.

    Raises:
        UserError: there is no such rule, or an argument that it does not take or cannot work with.
    """
    tried, context = (_spoken(), {}) if known is SYNTHETIC_RULES else (_labels(), CONTEXT)
    for rule in rules:
        if rule.rule not in known:
            raise UserError(f"no selection rule {rule.rule!r}", where, f"choose one of: {', '.join(known)}")
        strangers = set(rule.args) - set(inspect.signature(known[rule.rule]).parameters)
        if strangers:
            raise UserError(f"rule {rule.rule!r} takes no {sorted(strangers)[0]!r}", where)
        rounds = max([len(value) for value in rule.args.values() if isinstance(value, (list, tuple))], default=1)
        try:
            for number in range(1, max(1, rounds) + 1):
                _judged(rule.rule, known[rule.rule](tried, number, context, **rule.args), len(tried))
        except UserError as error:
            raise UserError(error.what, where, error.remedy) from error
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            said = f"{type(error).__name__}: {error}"
            raise UserError(f"rule {rule.rule!r} cannot work with the arguments {rule.args} ({said})", where) from error


def select(items: Table, rules: Sequence[Rule], known: dict[str, RuleFunction], number: int, context: dict[str, Any]) -> Selection:
    """Applies rules, which `check` has seen, in order."""
    out = Selection(np.arange(len(items), dtype=np.int64), [])
    for rule in rules:
        keep, why = known[rule.rule](items.subset(out.kept), number, context, **rule.args)
        dropped = np.flatnonzero(~keep)
        out.reasons.append((out.kept[dropped], lambda n, why=why, dropped=dropped: why(int(dropped[n]))))  # type: ignore[misc]
        out.kept = out.kept[keep]
    return out
