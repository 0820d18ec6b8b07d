"""Aligned text for people: reference over hypothesis, Chinese characters counted as two columns."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from cycle.eval.errors import Step

GAP = "*"


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, columns: int, right: bool = False) -> str:
    """Fills a text up with spaces, on its left if `right`."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def lines(steps: Sequence[Step]) -> tuple[str, str, str]:
    """Reference, hypothesis and marks (S, I, D under what differs) in equal columns; what one side lacks is a row of stars."""
    rows: tuple[list[str], list[str], list[str]] = ([], [], [])
    for op, ref, hyp in steps:
        columns = max(width(ref), width(hyp), 1)
        for row, text in zip(rows, (ref or GAP * columns, hyp or GAP * columns, "" if op == "=" else op), strict=True):
            row.append(pad(text, columns))
    ref_line, hyp_line, marks = (" ".join(row).rstrip() for row in rows)
    return ref_line, hyp_line, marks


def confusions(alignments: Iterable[Sequence[Step]], most: int = 20) -> list[tuple[int, str, str]]:
    """The most frequent errors as (how often, reference, hypothesis), the missing side a star."""
    counts = Counter((ref or GAP, hyp or GAP) for steps in alignments for op, ref, hyp in steps if op != "=")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(count, ref, hyp) for (ref, hyp), count in ranked[:most]]
