"""What is kept of the exchange, and why the rest is not: each rule a small function that a recipe names.

A rule takes the items and its arguments and returns, for each item, None to keep it or the reason against it. Rules run in order on what
the rules before them kept. `number` is the round, from 1: an argument given as a list holds one value a round, the last one staying.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cycle.config import Rule
from cycle.errors import UserError
from cycle.eval.errors import distance
from cycle.exchange.label import Label
from cycle.exchange.speak import Spoken

Reason = str | None


def of_round(value: Any, number: int) -> Any:
    """A schedule's value in a round."""
    return value[min(number, len(value)) - 1] if isinstance(value, (list, tuple)) else value


def not_empty(labels: Sequence[Label], number: int, context: dict[str, Any]) -> list[Reason]:
    """Drops empty hypotheses."""
    return [None if label.text else "empty" for label in labels]


def pace(labels: Sequence[Label], number: int, context: dict[str, Any], slack: float = 1.3) -> list[Reason]:
    """Drops transcripts whose frames per token lie outside the paired pool's, with some slack."""
    low, high = context["frames_per_token"]
    values = [label.frames / max(1, label.tokens) for label in labels]
    return [None if low / slack <= v <= high * slack else f"pace: {v:.1f} frames a token" for v in values]


def known_tokens(labels: Sequence[Label], number: int, context: dict[str, Any]) -> list[Reason]:
    """Drops transcripts with a token that the paired pool does not hold."""
    return [None if set(label.text.split()) <= context["paired_tokens"] else "unknown token" for label in labels]


CONFIDENCES: dict[str, Callable[[Label], float]] = {
    "logp": lambda label: label.logp / max(1, label.tokens),  # probability of the whole hypothesis, per token
    "combined": lambda label: (label.logp + 0.3 * label.prior) / max(1, label.tokens),
    "posterior": lambda label: label.posterior,
    "tts": lambda label: label.tts[0] if label.tts and label.tts[0] is not None else -np.inf,
}


def confidence(labels: Sequence[Label], number: int, context: dict[str, Any], keep: Any = 0.5, by: str = "logp") -> list[Reason]:
    """Keeps the most confident share of the whole pool.

    Args:
        keep: share, or one a round (a curriculum).
        by: logp (log-probability of the whole hypothesis per token), combined (with the prior), posterior (share of the N-best list), tts.
    """
    if by not in CONFIDENCES:
        raise UserError(f"confidence: no measure {by!r}", "select_labels", f"choose one of: {', '.join(CONFIDENCES)}")
    share = of_round(keep, number)
    values = np.array([CONFIDENCES[by](label) for label in labels])
    count = min(len(labels), round(share * context["pool"]))
    if count == 0:
        return [f"confidence: none kept in round {number}"] * len(labels)
    bar = np.sort(values)[::-1][count - 1]
    return [None if v >= bar else f"confidence: {v:.3f} below {bar:.3f}" for v in values]


def tts_agrees(labels: Sequence[Label], number: int, context: dict[str, Any], margin: float = 0.0) -> list[Reason]:
    """Drops labels where the synthesiser explains another hypothesis of the list better by more than `margin`."""
    reasons: list[Reason] = []
    for label in labels:
        judged = [s for s in label.tts[1:] if s is not None]
        mine = label.tts[0] if label.tts else None
        worse = mine is not None and judged and max(judged) > mine + margin
        reasons.append(f"synthesiser prefers another by {max(judged) - mine:.3f}" if worse and mine is not None else None)
    return reasons


def finite(spoken: Sequence[Spoken], number: int, context: dict[str, Any]) -> list[Reason]:
    """Drops synthetic speech with values that are not numbers, or without a frame."""
    return [None if s.finite and s.frames > 1 else "not finite" for s in spoken]


def heard(spoken: Sequence[Spoken], number: int, context: dict[str, Any], most: float = 1.0) -> list[Reason]:
    """Drops synthetic speech of which the recogniser gets more than this share of the tokens wrong."""
    reasons: list[Reason] = []
    for s in spoken:
        rate = distance(s.text.split(), s.heard.split()) / max(1, len(s.text.split()))
        reasons.append(None if rate <= of_round(most, number) else f"heard: {rate:.2f} wrong")
    return reasons


LABEL_RULES: dict[str, Callable[..., list[Reason]]] = {
    f.__name__: f for f in (not_empty, pace, known_tokens, confidence, tts_agrees)
}  # fmt: skip
SYNTHETIC_RULES: dict[str, Callable[..., list[Reason]]] = {f.__name__: f for f in (finite, heard)}


def select(items: Sequence[Any], rules: Sequence[Rule], known: dict[str, Callable[..., list[Reason]]], number: int, context: dict[str, Any],
           where: str) -> tuple[list[Any], list[tuple[Any, str]]]:  # fmt: skip
    """Applies rules in order.

    Returns:
        what is kept, and what is not with the reason.

    Raises:
        UserError: no such rule, or an argument it does not take.
    """
    kept, rejected = list(items), []
    for rule in rules:
        if rule.rule not in known:
            raise UserError(f"no selection rule {rule.rule!r}", where, f"choose one of: {', '.join(known)}")
        function = known[rule.rule]
        strangers = set(rule.args) - set(inspect.signature(function).parameters)
        if strangers:
            raise UserError(f"rule {rule.rule!r} takes no {sorted(strangers)[0]!r}", where)
        reasons = function(kept, number, context, **rule.args)
        rejected += [(item, reason) for item, reason in zip(kept, reasons, strict=True) if reason]
        kept = [item for item, reason in zip(kept, reasons, strict=True) if not reason]
    return kept, rejected
