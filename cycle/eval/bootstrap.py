"""How sure an error rate is: the bootstrap over utterances (Bisani & Ney, ICASSP 2004), vectorised.

Utterances are drawn with replacement, and the rate of a draw is the ratio of its summed errors to its summed references.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 4_000_000  # draws held in memory at once


def interval(errors: ArrayLike, refs: ArrayLike, resamples: int = 2000, seed: int = 1, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of an error rate.

    Args:
        errors: (N,) errors of each utterance.
        refs: (N,) units of each reference.

    Returns:
        The lower and upper end, as shares; draws without any reference unit do not count.

    Raises:
        ValueError: no utterances, sizes that differ, or no reference units at all.
    """
    values = _columns(errors, refs)
    draws = np.concatenate(list(_draws(values, resamples, seed)))
    rates = draws[draws[:, 1] > 0]
    low, high = np.quantile(rates[:, 0] / rates[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_p(errors_a: ArrayLike, errors_b: ArrayLike, refs: ArrayLike, resamples: int = 10_000, seed: int = 1) -> float:
    """Two-sided p-value of the difference between two systems on the same utterances.

    With d the difference of the rates and d* that of a draw (the same utterances for both systems), the draws scatter around d as
    differences would around zero if the systems were alike (Efron & Tibshirani 1993, ch. 16; Berg-Kirkpatrick et al., EMNLP 2012):

        p = (1 + #{|d* - d| >= |d|}) / (1 + resamples)

    The added one keeps p from being zero, which no number of draws could show (Davison & Hinkley 1997, eq. 4.11).

    Args:
        errors_a: (N,) errors of one system, errors_b: of the other; refs: (N,) reference units, the same for both.

    Raises:
        ValueError: no utterances, sizes that differ, or no reference units at all.
    """
    values = _columns(np.subtract(errors_a, errors_b), refs)
    observed = values[:, 0].sum() / values[:, 1].sum()
    extreme = 0
    for draws in _draws(values, resamples, seed):
        difference = np.divide(draws[:, 0], draws[:, 1], out=np.full(len(draws), observed), where=draws[:, 1] > 0)
        extreme += int(np.sum(np.abs(difference - observed) >= abs(observed) - 1e-12))  # ties are exact but for rounding
    return (1 + extreme) / (1 + resamples)


def _columns(top: ArrayLike, bottom: ArrayLike) -> NDArray[np.float64]:
    values = np.stack([np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)], axis=1)
    if values.ndim != 2 or not len(values) or not values[:, 1].sum() > 0:
        raise ValueError("a bootstrap needs utterances with reference units")
    return values


def _draws(values: NDArray[np.float64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yields (some, 2) sums over draws of N utterances, `resamples` in all."""
    rng, n = np.random.default_rng(seed), len(values)
    rows = max(1, CHUNK // n)
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, n, (min(rows, resamples - start), n))
        yield np.stack([column[drawn].sum(axis=1) for column in values.T], axis=1)
