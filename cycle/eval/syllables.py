"""Which part of a Mandarin syllable is wrong: initial, final or tone; and what a round repaired and broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cycle.data.g2p import INITIALS
from cycle.eval.errors import Step, align

PARTS = ("initial", "final", "tone")
NONE = "∅"  # a syllable without an initial


@dataclass(frozen=True)
class Tally:
    """Wrong ones among `of`."""

    wrong: int = 0
    of: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.wrong + other.wrong, self.of + other.of)


def taken_apart(syllable: str) -> tuple[str, str, str]:
    """("zh", "ong", "1") of "zhong1"; what is no toned syllable has no tone."""
    initial = next((syllable[:n] for n in (2, 1) if syllable[:n] in INITIALS), "")
    rest = syllable[len(initial) :]
    toned = rest[-1:].isdigit()
    return initial or NONE, rest[:-1] if toned else rest, rest[-1] if toned else ""


def by_part(alignments: Iterable[Sequence[Step]]) -> dict[str, Tally]:
    """How many initials, finals and tones of the reference are wrong; all three of a syllable that was lost.

    A final counts as wrong where its vowels differ, whatever its tone.
    """
    out = dict.fromkeys(PARTS, Tally())
    for op, ref, hyp in (step for steps in alignments for step in steps if step[1]):
        pairs = zip(PARTS, taken_apart(ref), taken_apart(hyp) if op != "D" else ("", "", ""), strict=True)
        for part, said, heard in pairs:
            if part == "tone" and not said:
                continue
            out[part] += Tally(int(op == "D" or said != heard), 1)
    return out


def by_tone(alignments: Iterable[Sequence[Step]]) -> dict[str, tuple[Tally, Tally]]:
    """For each tone of the reference: syllables that are wrong in any way, and those whose tone is wrong (or that were lost)."""
    out: dict[str, tuple[Tally, Tally]] = {}
    for op, ref, hyp in (step for steps in alignments for step in steps if step[1]):
        tone = taken_apart(ref)[2]
        if tone:
            whole, only = out.get(tone, (Tally(), Tally()))
            other = taken_apart(hyp)[2] if op != "D" else ""
            out[tone] = whole + Tally(int(op != "="), 1), only + Tally(int(tone != other), 1)
    return dict(sorted(out.items()))


def right_units(ref: Sequence[str], hyp: Sequence[str]) -> list[bool]:
    """Which units of the reference a hypothesis gets right."""
    return [op == "=" for op, said, _ in align(ref, hyp) if said]


def repairs(ref: Sequence[str], before: Sequence[str], after: Sequence[str]) -> tuple[int, int, int]:
    """Units of the reference that became right, that became wrong, and that stayed wrong."""
    pairs = Counter(zip(right_units(ref, before), right_units(ref, after), strict=True))
    return pairs[False, True], pairs[True, False], pairs[False, False]


def confusions(alignments: Iterable[Sequence[Step]], most: int) -> tuple[list[str], list[str], dict[tuple[str, str], int]]:
    """The most confused units.

    Returns:
        references, the ones with most errors first; hypotheses, the same units, then what else they are taken for and "" for what is
        lost; and how often each pair stands against each other, the right ones too.
    """
    counts = Counter((ref, hyp) for steps in alignments for op, ref, hyp in steps if op != "I")
    wrong: Counter[str] = Counter()
    for (ref, hyp), times in counts.items():
        if ref != hyp:
            wrong[ref] += times
    refs = sorted(wrong, key=lambda unit: (-wrong[unit], unit))[:most]
    taken: Counter[str] = Counter()
    for (ref, hyp), times in counts.items():
        if ref in refs and hyp and hyp not in refs:
            taken[hyp] += times
    others = sorted(taken, key=lambda unit: (-taken[unit], unit))[: most // 3]
    hyps = [*refs, *others, ""]
    return refs, hyps, {pair: times for pair, times in counts.items() if pair[0] in refs and pair[1] in hyps}
