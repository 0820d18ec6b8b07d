"""Recogniser and prior together: by hand."""

from __future__ import annotations

import math

import pytest

from cycle.data.batch import Hypothesis
from cycle.models.fusion import best_text, combined, posteriors, prior_scores
from cycle.models.ngram import NGram
from cycle.settings import Search

HYPS = [Hypothesis("a", math.log(0.6)), Hypothesis("b a", math.log(0.3)), Hypothesis("", math.log(0.1))]
PRIORS = [math.log(0.25), math.log(0.5), math.log(0.125)]


def test_worked_by_hand():
    """With half the prior and ln 2 a token: 0.6 sqrt(1/4) 2 = 0.6, 0.3 sqrt(1/2) 4 = 0.849, 0.1 sqrt(1/8) = 0.035."""
    search = Search(prior_weight=0.5, prior_length=math.log(2))
    weights = [0.6, 1.2 * math.sqrt(0.5), 0.1 * math.sqrt(0.125)]
    assert [math.exp(combined(h, p, search)) for h, p in zip(HYPS, PRIORS, strict=True)] == pytest.approx(weights)
    assert posteriors(HYPS, PRIORS, search) == pytest.approx([w / sum(weights) for w in weights])
    assert best_text(HYPS, PRIORS, search) == "b a"


def test_without_a_prior_the_recogniser_decides():
    assert best_text(HYPS, PRIORS, Search()) == "a"
    assert posteriors(HYPS, PRIORS, Search()) == pytest.approx([0.6, 0.3, 0.1])


def test_nothing_heard():
    assert best_text([], [], Search()) == "" and posteriors([], [], Search()) == []


def test_the_prior_scores_each_hypothesis_of_each_list():
    prior = NGram.fit([["a", "b"], ["b"]], order=2)
    lists = [[Hypothesis("a b", 0.0), Hypothesis("b", 0.0)], [], [Hypothesis("a", 0.0)]]
    assert prior_scores(lists, prior) == [[prior.logp(["a", "b"]), prior.logp(["b"])], [], [prior.logp(["a"])]]
