"""Selection rules, each by hand; order, reasons, schedules."""

import math

import numpy as np
import pytest

from cycle.data.schemas import LABEL, SPOKEN
from cycle.data.table import Table
from cycle.errors import UserError
from cycle.exchange.label import Label, choose
from cycle.exchange.select import LABEL_RULES, SYNTHETIC_RULES, check, confidence, heard, of_round, pace, select, tts_agrees
from cycle.settings import Rule


def label(utt, text="a b", logp=-1.0, frames=40, posterior=0.5, tts=()):
    return {"utt": utt, "text": text, "frames": frames, "tokens": len(text.split()), "logp": logp, "prior": -2.0, "posterior": posterior,
            "nbest": [text], "tts": list(tts)}  # fmt: skip


def labels(*rows):
    return Table.of(rows, LABEL)


def spoken(utt, text="a b", heard="a b", frames=20, finite=True):
    return {"utt": utt, "spk": "s", "text": text, "frames": frames, "heard": heard, "finite": finite, "duration_std": 0.1, "pitch_std": 0.1}


CONTEXT = {"pool": 4, "paired_tokens": {"a", "b"}, "frames_per_token": [10.0, 30.0]}


def test_confidence_keeps_the_share_of_the_whole_pool():
    rows = labels(*(label(str(i), logp=-float(i)) for i in range(3)))
    assert confidence(rows, 1, {"pool": 6}, keep=0.5)[0].all()  # of six three were dropped before
    keep, why = confidence(rows, 1, CONTEXT, keep=[0.5, 1.0])
    assert keep.tolist() == [True, True, False] and why(2) == "confidence: -1.000 below -0.500"
    assert confidence(rows, 2, CONTEXT, keep=[0.5, 1.0])[0].all()
    keep, why = confidence(rows, 1, CONTEXT, keep=0.0)
    assert not keep.any() and "none kept" in why(0)


def test_confidence_is_per_token():
    rows = labels(label("long", "a b a b", -2.0), label("short", "a", -1.0))
    assert confidence(rows, 1, {"pool": 2}, keep=0.5)[0].tolist() == [True, False]
    rows = labels(label("x", posterior=0.9), label("y", posterior=0.1))
    assert confidence(rows, 1, {"pool": 2}, keep=0.5, by="posterior")[0].tolist() == [True, False]
    rows = labels(label("x"), label("y", tts=[None]), label("z", tts=[-0.4]))
    for keep in (0.3, 0.7, 1.0):  # what nobody has judged is no better for being asked for
        assert confidence(rows, 1, {"pool": 3}, keep=keep, by="tts")[0].tolist() == [False, False, True]
    with pytest.raises(UserError, match="no measure"):
        confidence(rows, 1, CONTEXT, by="mood")


def test_pace_and_agreement():
    rows = labels(label("a", frames=40), label("b", frames=200), label("c", frames=10))
    assert pace(rows, 1, CONTEXT)[0].tolist() == [True, False, False]
    rows = labels(label("a", tts=[-0.3, -0.5]), label("b", tts=[-0.5, -0.3]), label("c", tts=[None, -0.1]), label("d"))
    keep, why = tts_agrees(rows, 1, CONTEXT)
    assert keep.tolist() == [True, False, True, True] and why(1) == "synthesiser prefers another by 0.200"
    assert tts_agrees(rows, 1, CONTEXT, margin=0.3)[0].all()


def test_heard_counts_tokens():
    rows = Table.of([spoken("a"), spoken("b", heard="a"), spoken("c", heard="c d e")], SPOKEN)
    assert heard(rows, 1, {}, most=0.5)[0].tolist() == [True, True, False]


def test_rules_run_in_order_and_name_their_reason():
    rows = labels(label("a"), label("b", text=""), label("c", text="z z"), label("d", logp=-9.0), label("e"))
    rules = [Rule("not_empty"), Rule("known_tokens"), Rule("confidence", {"keep": 0.5})]
    chosen = select(rows, rules, LABEL_RULES, 1, CONTEXT)
    assert chosen.kept.tolist() == [0, 4]
    assert [(i, why.split(":")[0]) for i, why in chosen.rejected()] == [(1, "empty"), (2, "unknown token"), (3, "confidence")]
    chosen.drop(np.array([True, False]), "too short")
    assert chosen.kept.tolist() == [4] and list(chosen.rejected())[-1] == (0, "too short")


def test_unknown_rules_and_arguments_are_named():
    for rule, said in ((Rule("magic"), "no selection rule 'magic'"), (Rule("finite", {"x": 1}), "rule 'finite'")):
        with pytest.raises(UserError, match=said):
            check([rule], SYNTHETIC_RULES, "rounds.select_synthetic")
    check([Rule("finite"), Rule("heard", {"most": 0.5})], SYNTHETIC_RULES, "rounds.select_synthetic")


def test_schedules():
    assert [of_round([0.4, 0.6], n) for n in (1, 2, 3)] == [0.4, 0.6, 0.6]
    assert of_round(0.5, 7) == 0.5


def test_the_prior_may_change_the_choice():
    from cycle.data.batch import Hypothesis
    from cycle.settings import Search

    class Prior:
        def logps(self, sentences):
            return np.array([{"a": -5.0, "b": -1.0}[token] for (token,) in sentences])

    lists = [[Hypothesis("a", -1.0), Hypothesis("b", -1.5)], [], [Hypothesis("b", -9.0)]]
    assert [label.text for label in choose("uvw", [9, 8, 7], lists, Prior(), Search(prior_weight=0.0))] == ["a", "", "b"]
    chosen, nothing, only = choose("uvw", [9, 8, 7], lists, Prior(), Search(prior_weight=0.5))
    assert chosen.text == "b" and chosen.logp == -1.5 and chosen.nbest == ["b", "a"]
    assert chosen.posterior == pytest.approx(1 / (1 + pow(2.718281828, -1.5)), abs=1e-6)  # scores -2 and -3.5
    assert chosen.posteriors == pytest.approx([chosen.posterior, 1 - chosen.posterior])
    assert (chosen.prior, chosen.tokens, chosen.frames) == (-1.0, 1, 9)
    assert nothing == Label("v", "", 8, 0, -math.inf, 0.0, 0.0, [], [], [])
    assert only == Label("w", "b", 7, 1, -9.0, -1.0, 1.0, ["b"], [1.0], [])


def test_own_rules_are_tried_on_utterances_that_could_be():
    def rare(labels, number, context, keep=0.5):
        values = labels.numbers("logp") / context["pool"]
        return values >= np.quantile(values, 1 - keep), lambda i: "rare"

    def curious(spoken, number, context):
        return spoken.numbers("frames") > len(context["paired_tokens"]), lambda i: "curious"

    check([Rule("rare", {"keep": 0.3})], {"rare": rare}, "rounds.select_labels")
    with pytest.raises(UserError, match=r"rule 'rare' cannot work with the arguments \{'keep': 'x'\} \(TypeError"):
        check([Rule("rare", {"keep": "x"})], {"rare": rare}, "rounds.select_labels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SYNTHETIC_RULES, "curious", curious)
        with pytest.raises(UserError, match="KeyError: 'paired_tokens'"):  # of synthetic speech a rule is told nothing
            check([Rule("curious")], SYNTHETIC_RULES, "rounds.select_synthetic")


@pytest.mark.parametrize(
    "verdict",
    [
        lambda n: np.ones(n, dtype=bool),
        lambda n: ([True] * n, lambda i: "x"),
        lambda n: (np.ones(n), lambda i: "x"),
        lambda n: (np.ones(n + 1, dtype=bool), lambda i: "x"),
        lambda n: (np.ones(n, dtype=bool), "x"),
        lambda n: None,
    ],
)
def test_what_is_no_verdict_is_told(verdict):
    def mine(labels, number, context):
        return verdict(len(labels))

    with pytest.raises(UserError, match="rule 'mine' returns no verdict"):
        check([Rule("mine")], {"mine": mine}, "rounds.select_labels")
