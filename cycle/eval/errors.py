"""Errors with their counts: edit distance over units (tokens, syllables, words), by rapidfuzz."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein

Op = Literal["=", "S", "I", "D"]
Step = tuple[Op, str, str]  # what happened, the reference's unit ("" for an insertion), the hypothesis's ("" for a deletion)


@dataclass(frozen=True)
class Counts:
    """How a hypothesis differs from its reference; the sum over utterances is again a `Counts`.

    Attributes:
        sub: units replaced.
        ins: units that only the hypothesis has.
        dele: units that only the reference has.
        ref: units of the reference.
        hits: units that agree.
    """

    sub: int = 0
    ins: int = 0
    dele: int = 0
    ref: int = 0
    hits: int = 0

    @property
    def errors(self) -> int:
        return self.sub + self.ins + self.dele

    @property
    def rate(self) -> float:
        """See `share`."""
        return share(self.errors, self.ref)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.sub + other.sub, self.ins + other.ins, self.dele + other.dele, self.ref + other.ref, self.hits + other.hits)


def count(ref: Sequence[Hashable], hyp: Sequence[Hashable]) -> Counts:
    """Fewest substitutions, insertions and deletions that turn `ref` into `hyp`."""
    tags = [op.tag for op in Levenshtein.editops(ref, hyp)]
    sub, ins, dele = tags.count("replace"), tags.count("insert"), tags.count("delete")
    return Counts(sub, ins, dele, len(ref), len(ref) - sub - dele)


def count_all(refs: Iterable[Sequence[Hashable]], hyps: Iterable[Sequence[Hashable]]) -> list[Counts]:
    """`count` of each pair, both of the same number.

    Raises:
        ValueError: one side is longer.
    """
    return [count(ref, hyp) for ref, hyp in zip(refs, hyps, strict=True)]


def total(counts: Iterable[Counts]) -> Counts:
    """The sum: its rate weighs every unit alike."""
    return sum(counts, Counts())


def distance(ref: Sequence[Hashable], hyp: Sequence[Hashable]) -> int:
    """The number of errors alone; faster than `count`."""
    return int(Levenshtein.distance(ref, hyp))


def error_rate(refs: Iterable[Sequence[Hashable]], hyps: Iterable[Sequence[Hashable]]) -> float:
    """Errors over units of a whole set, as a share: the rate of `total(count_all(refs, hyps))`, in a fraction of its time."""
    pairs = list(zip(refs, hyps, strict=True))
    return share(sum(distance(ref, hyp) for ref, hyp in pairs), sum(len(ref) for ref, _ in pairs))


def share(errors: int, units: int) -> float:
    """Errors as a share of the reference's units: 0 for nothing against nothing, infinite for insertions against nothing."""
    if units:
        return errors / units
    return float("inf") if errors else 0.0


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Step]:
    """One shortest path from `ref` to `hyp`, unit by unit."""
    steps: list[Step] = []
    for op in Levenshtein.opcodes(ref, hyp):
        left, right = ref[op.src_start : op.src_end], hyp[op.dest_start : op.dest_end]
        if op.tag == "equal":
            steps += [("=", unit, unit) for unit in left]
        elif op.tag == "replace":
            steps += [("S", old, new) for old, new in zip(left, right, strict=True)]
        elif op.tag == "delete":
            steps += [("D", unit, "") for unit in left]
        else:
            steps += [("I", "", unit) for unit in right]
    return steps
