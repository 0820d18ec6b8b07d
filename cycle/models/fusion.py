"""The recogniser and the text-side prior together: scores, the best hypothesis, and how sure of it both are.

N-best lists are scored in columns, all of a pool's at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cycle.data.batch import Hypothesis
from cycle.settings import Search

type Scores = NDArray[np.float64]


class Prior(Protocol):
    """What knows how probable texts are."""

    def logps(self, sentences: Iterable[Sequence[str]]) -> Scores: ...


def scores(lists: Sequence[Sequence[Hypothesis]], prior: Prior | None) -> Scores:
    """(N, W, 3): log-probability of each hypothesis given its recording, that under the prior (0 without one), and its tokens.

    Where a list is shorter than the longest, its row ends in hypotheses of no probability.
    """
    width = max([1, *map(len, lists)])
    out = np.full((len(lists), width, 3), (-np.inf, 0.0, 0.0))
    there = np.arange(width) < np.array([len(hyps) for hyps in lists]).reshape(-1, 1)
    texts = [hyp.text.split() for hyps in lists for hyp in hyps]
    out[there, 0] = [hyp.logp if hyp.logp == hyp.logp else -np.inf for hyps in lists for hyp in hyps]  # what is no number is the last
    out[there, 1] = prior.logps(texts) if prior else 0.0
    out[there, 2] = [len(tokens) for tokens in texts]
    return out


def combined(known: Scores, search: Search) -> Scores:
    """Log-linear score of each hypothesis, (N, W): acoustics, prior, and a reward per token."""
    return known @ np.array([1.0, search.prior_weight, search.prior_length])


def best_texts(lists: Sequence[Sequence[Hypothesis]], totals: Scores) -> list[str]:
    """The best of each N-best list, by `combined`; empty when there is none."""
    return [hyps[best].text if hyps else "" for hyps, best in zip(lists, totals.argmax(1).tolist(), strict=True)]


def listing(search: Search) -> Search:
    """A search for as many hypotheses as the prior should choose from."""
    return replace(search, nbest=search.beam) if search.prior_weight else search


def chosen(lists: Sequence[Sequence[Hypothesis]], search: Search, prior: Prior | None) -> list[str]:
    """The best of each N-best list, the prior included where the search gives it a weight."""
    return best_texts(lists, combined(scores(lists, prior if search.prior_weight else None), search))


def posteriors(totals: Scores) -> Scores:
    """Probability of each hypothesis of an N-best list, if one of them is what was said: the softmax of `combined`; 0 for none."""
    best = totals.max(1, keepdims=True)
    shares = np.exp(totals - np.where(np.isfinite(best), best, 0.0))
    return shares / np.maximum(shares.sum(1, keepdims=True), np.finfo(np.float64).tiny)
