"""`per_utt.tsv` as stage 6 leaves it: errors of each utterance, or the value of each clip."""

from __future__ import annotations

from pathlib import Path

from cycle.files import read_tsv

PerUtt = dict[str, tuple[float, int]]  # utt: errors and reference units, or a value and 1: sums over sums are the figure of the set


def read(path: Path) -> PerUtt:
    """Every line of the file."""
    return {row["utt"]: _counted(row) for row in read_tsv(path)}


def _counted(row: dict[str, str]) -> tuple[float, int]:
    if "value" in row:
        return float(row["value"]), 1
    return int(row["sub"]) + int(row["ins"]) + int(row["del"]), int(row["ref"])
