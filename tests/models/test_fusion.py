"""Recogniser and prior together: by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cycle.data.batch import Hypothesis
from cycle.models.fusion import best_texts, combined, posteriors, scores
from cycle.models.ngram import NGram
from cycle.settings import Search

HYPS = [Hypothesis("a", math.log(0.6)), Hypothesis("b a", math.log(0.3)), Hypothesis("", math.log(0.1))]
PRIORS = np.log([0.25, 0.5, 0.125])


class Known:
    def logps(self, sentences):
        assert sentences == [["a"], ["b", "a"], []]
        return PRIORS


def test_worked_by_hand():
    """With half the prior and ln 2 a token: 0.6 sqrt(1/4) 2 = 0.6, 0.3 sqrt(1/2) 4 = 0.849, 0.1 sqrt(1/8) = 0.035."""
    totals = combined(scores([HYPS], Known()), Search(prior_weight=0.5, prior_length=math.log(2)))
    weights = [0.6, 1.2 * math.sqrt(0.5), 0.1 * math.sqrt(0.125)]
    assert np.exp(totals) == pytest.approx(np.array([weights]))
    assert posteriors(totals) == pytest.approx(np.array([weights]) / sum(weights))
    assert best_texts([HYPS], totals) == ["b a"]


def test_without_a_prior_the_recogniser_decides():
    for prior in (Known(), None):
        totals = combined(scores([HYPS], prior), Search())
        assert best_texts([HYPS], totals) == ["a"] and posteriors(totals) == pytest.approx(np.array([[0.6, 0.3, 0.1]]))


def test_short_lists_end_in_nothing():
    """A list that is shorter than another has the same numbers as alone; an empty one has none."""
    lists = [[Hypothesis("b", -800.0)], [], HYPS]
    totals = combined(scores(lists, None), Search(prior_length=-1000.0))
    assert best_texts(lists, totals) == ["b", "", ""] and totals[0, 0] == -1800.0
    assert posteriors(totals).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_what_is_no_number_comes_last():
    lists = [[Hypothesis("a", math.nan), Hypothesis("b", -5.0)], [Hypothesis("a", math.nan)]]
    totals = combined(scores(lists, None), Search())
    assert best_texts(lists, totals) == ["b", "a"] and posteriors(totals).tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_nothing_heard():
    assert best_texts([], scores([], None).sum(-1)) == [] and posteriors(scores([[]], None)[..., 0]).tolist() == [[0.0]]


def test_the_prior_scores_each_hypothesis_of_each_list():
    prior = NGram.fit([["a", "b"], ["b"]], order=2)
    lists = [[Hypothesis("a b", -2.0), Hypothesis("b", -3.0)], [], [Hypothesis("a", -4.0)]]
    known = scores(lists, prior)
    assert known[0].tolist() == [[-2.0, prior.logp(["a", "b"]), 2.0], [-3.0, prior.logp(["b"]), 1.0]]
    assert known[2].tolist() == [[-4.0, prior.logp(["a"]), 1.0], [-math.inf, 0.0, 0.0]] and known[1, 0].tolist() == known[2, 1].tolist()
