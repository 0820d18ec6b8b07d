"""The recogniser and the text-side prior together: scores, the best hypothesis, and how sure of it both are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cycle.data.batch import Hypothesis
from cycle.models.ngram import NGram
from cycle.settings import Search


def prior_scores(lists: Sequence[Sequence[Hypothesis]], prior: NGram) -> list[list[float]]:
    """Log-probability of each hypothesis under the text-side prior."""
    flat = prior.logps(h.text.split() for hyps in lists for h in hyps).tolist()
    found = iter(flat)
    return [[next(found) for _ in hyps] for hyps in lists]


def combined(hyp: Hypothesis, prior: float, search: Search) -> float:
    """Log-linear score of a hypothesis: acoustics, prior, and a reward per token."""
    return hyp.logp + search.prior_weight * prior + search.prior_length * len(hyp.text.split())


def best_text(hyps: Sequence[Hypothesis], priors: Sequence[float], search: Search) -> str:
    """The best of an N-best list; empty when there is none."""
    scored = [(combined(h, p, search), h.text) for h, p in zip(hyps, priors, strict=True)]
    return max(scored, key=lambda s: s[0])[1] if scored else ""


def posteriors(hyps: Sequence[Hypothesis], priors: Sequence[float], search: Search) -> list[float]:
    """Probability of each hypothesis of an N-best list, if one of them is what was said: the softmax of `combined`."""
    scores = [combined(h, p, search) for h, p in zip(hyps, priors, strict=True)]
    shares = [math.exp(score - max(scores)) for score in scores]  # lists are short: a call of torch would take longer
    return [share / math.fsum(shares) for share in shares]
