"""`per_utt.tsv` as stage 6 leaves it: errors of each utterance, or the value of each clip."""

from __future__ import annotations

import csv
from pathlib import Path

PerUtt = dict[str, tuple[float, int]]  # utt: errors and reference units, or a value and 1: sums over sums are the figure of the set


def read(path: Path) -> PerUtt:
    """Every line of the file."""
    with open(path, encoding="utf-8", newline="") as handle:
        return {row["utt"]: _counted(row) for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)}


def _counted(row: dict[str, str]) -> tuple[float, int]:
    if "value" in row:
        return float(row["value"]), 1
    return int(row["sub"]) + int(row["ins"]) + int(row["del"]), int(row["ref"])
