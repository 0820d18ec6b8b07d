"""Errors of systems over several sittings, in one table to keep: experiments are large and go, what they got wrong is small and stays."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cycle.errors import UserError
from cycle.files import write_tsv

Array = NDArray[np.float64]
Scores = dict[str, dict[int, Array]]  # system: seed: (N,) errors of each utterance


def read(path: Path) -> tuple[Scores, list[str], Array]:
    """Reads what `write` wrote.

    Returns:
        the errors, the utterances, and (N,) reference units.

    Raises:
        UserError: no such file, or not of this form; names file and line.
    """
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            header, *lines = csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read as a table of errors ({error})", path, "name a file that --rows has written") from error
    if header[:2] != ["utt", "ref"] or any(not name.rpartition("-")[2].isdigit() for name in header[2:]):
        raise UserError("is no table of errors: its first line is not utt, ref, SYSTEM-SEED, ...", path)
    values = np.zeros((len(lines), len(header) - 1))
    for number, line in enumerate(lines, 2):
        try:
            values[number - 2] = [float(value) for _, value in zip(header[1:], line[1:], strict=True)]
        except ValueError as error:
            raise UserError(f"line {number} does not hold a number for each column", path) from error
    scores: Scores = {}
    for name, column in zip(header[2:], values.T[1:], strict=True):
        system, _, seed = name.rpartition("-")
        scores.setdefault(system, {})[int(seed)] = column
    return scores, [line[0] for line in lines], values[:, 0]


def write(path: Path, scores: Scores, utts: list[str], refs: Array) -> None:
    """Writes a line for each utterance, a column for each system and seed."""
    columns = [(f"{system}-{seed}", by_seed[seed]) for system, by_seed in sorted(scores.items()) for seed in sorted(by_seed)]
    values = [refs, *(column for _, column in columns)]
    rows = ((utt, *(f"{v[i]:.10g}" for v in values)) for i, utt in enumerate(utts))
    write_tsv(path, ("utt", "ref", *(name for name, _ in columns)), rows)


def joined(kept: Scores, new: Scores) -> Scores:
    """Both; where a system and seed are in both, the new one counts."""
    return {system: kept.get(system, {}) | new.get(system, {}) for system in sorted({*kept, *new})}
