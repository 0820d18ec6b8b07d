"""The prior's weight, chosen on a set with known texts."""

import itertools
import random

import numpy as np
import pytest

from cycle.config import load
from cycle.data.batch import Hypothesis
from cycle.device import fabric
from cycle.eval.errors import distance
from cycle.exchange import evaluate
from cycle.exchange.evaluate import PRIOR_LENGTHS, PRIOR_WEIGHTS, tune_prior
from cycle.experiment import Experiment
from cycle.models.fusion import best_texts, combined, scores
from cycle.settings import Search
from cycle.train.streams import Stream


class Known:
    """A prior whose log-probabilities are given, list by list."""

    def __init__(self, lists):
        self.values = [value for row in lists for value in row]

    def logps(self, sentences):
        assert len(sentences) == len(self.values)
        return np.array(self.values)


@pytest.mark.parametrize(("lead", "weight"), [(0.05, 0.1), (0.5, 0.6), (1.15, 1.2), (1.9, 2.0), (9.0, 0.0)])
def test_the_weight_that_the_right_text_needs(lead, weight):
    """The wrong text leads by `lead` in log-probability and lacks 1 in the prior; where nothing helps, the prior has no weight."""
    lists = [[Hypothesis("a b", -1.0), Hypothesis("a c", -1.0 - lead)]]
    tuned = tune_prior(lists, Known([[-3.0, -2.0]]), ["a c"], Search(beam=5, tune=True))
    assert (tuned.prior_weight, tuned.prior_length) == (weight, 0.0) and (tuned.beam, tuned.tune) == (5, True)


def test_tokens_are_rewarded_where_texts_are_too_short():
    lists = [[Hypothesis("a", -1.0), Hypothesis("a b", -1.5)], [Hypothesis("b", -1.0), Hypothesis("b a", -1.4)]]
    tuned = tune_prior(lists, Known([[-1.0, -1.0]] * 2), ["a b", "b a"], Search())
    assert (tuned.prior_weight, tuned.prior_length) == (0.1, 1.0)


def test_a_corpus_may_be_judged_by_something_else():
    """The wrong text has fewer token errors, and less value."""
    lists = [[Hypothesis("a b", -1.0), Hypothesis("a c", -1.5)], []]
    prior = Known([[-3.0, -2.0], []])
    assert tune_prior(lists, prior, ["a b", "a"], Search()).prior_weight == 0.0
    tuned = tune_prior(lists, prior, ["a b", "a"], Search(), value=lambda texts: texts.index("a c") == 0 if "a c" in texts else -1.0)
    assert tuned.prior_weight == 0.6


def test_dev_and_nothing_else_chooses(tmp_path, monkeypatch):
    """Rounds and weights are chosen by what a model makes of dev: no other pool is opened."""
    exp = Experiment(tmp_path, load("mini", "cycle", ["decode.tune=true"]), "mini", "cycle")
    opened = []

    def pool(exp, name):
        opened.append(name)
        return Stream(name, ["u"], ["s"], ["a b"])

    monkeypatch.setattr(evaluate, "open_pool", pool)
    monkeypatch.setattr(evaluate, "open_asr", lambda *_: None)
    monkeypatch.setattr(evaluate.NGram, "load", lambda _: Known([[-1.0]]))
    monkeypatch.setattr(evaluate, "decode", lambda *_: [[Hypothesis("a", -1.0)]])
    found = evaluate.dev_figure(exp, tmp_path, fabric("cpu", "32"))
    assert set(opened) == {"dev"} and found["asr_dev_tokens"] == 0.5


def test_no_choice_at_all():
    assert tune_prior([[], []], Known([[], []]), ["a", "b"], Search()).prior_weight == 0.0
    assert tune_prior([], Known([]), [], Search()).prior_weight == 0.0


def test_brute_force():
    """No point of the grid makes fewer errors, and none before it as few, counted with the texts that decoding would choose."""
    draw = random.Random(0)
    for _ in range(20):
        texts = [" ".join(draw.choices("abc", k=draw.randint(0, 4))) for _ in range(30)]
        lists = [[Hypothesis(t, -draw.random() * 3) for t in draw.sample(texts, draw.randint(0, 5))] for _ in range(12)]
        prior = Known([[-draw.random() * 3 for _ in hyps] for hyps in lists])
        refs = [" ".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in lists]

        def errors(search, lists=lists, prior=prior, refs=refs):
            said = best_texts(lists, combined(scores(lists, prior), search))
            return sum(distance(ref.split(), hyp.split()) for ref, hyp in zip(refs, said, strict=True))

        grid = [Search(prior_weight=w, prior_length=n) for w, n in itertools.product(PRIOR_WEIGHTS, PRIOR_LENGTHS) if w or not n]
        assert tune_prior(lists, prior, refs, Search()) == min(grid, key=errors)
