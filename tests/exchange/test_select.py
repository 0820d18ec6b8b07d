"""Selection rules, each by hand; order, reasons, schedules."""

import pytest

from cycle.config import Rule
from cycle.errors import UserError
from cycle.exchange.label import Label, choose
from cycle.exchange.select import LABEL_RULES, SYNTHETIC_RULES, confidence, heard, of_round, pace, select, tts_agrees
from cycle.exchange.speak import Spoken


def label(utt, text="a b", logp=-1.0, frames=40, posterior=0.5, tts=()):
    return Label(utt, text, frames, logp, -2.0, posterior, [text], list(tts))


def spoken(utt, text="a b", heard="a b", frames=20, finite=True):
    return Spoken(utt, "s", text, frames, heard, 0, finite, 0.1, 0.1)


CONTEXT = {"pool": 4, "paired_tokens": {"a", "b"}, "frames_per_token": [10.0, 30.0]}


def test_confidence_keeps_the_share_of_the_whole_pool():
    labels = [label(str(i), logp=-float(i)) for i in range(3)]  # one of four was dropped before
    kept = [r is None for r in confidence(labels, 1, CONTEXT, keep=[0.5, 1.0])]
    assert kept == [True, True, False]
    assert confidence(labels, 2, CONTEXT, keep=[0.5, 1.0]) == [None] * 3
    assert "none kept" in confidence(labels, 1, CONTEXT, keep=0.0)[0]


def test_confidence_is_per_token():
    labels = [label("long", "a b a b", -2.0), label("short", "a", -1.0)]
    assert [r is None for r in confidence(labels, 1, {"pool": 2}, keep=0.5)] == [True, False]
    assert [
        r is None for r in confidence([label("x", posterior=0.9), label("y", posterior=0.1)], 1, {"pool": 2}, keep=0.5, by="posterior")
    ] == [True, False]
    with pytest.raises(UserError, match="no measure"):
        confidence(labels, 1, CONTEXT, by="mood")


def test_pace_and_agreement():
    assert [r is None for r in pace([label("a", frames=40), label("b", frames=200), label("c", frames=10)], 1, CONTEXT)] == [
        True,
        False,
        False,
    ]
    rows = [label("a", tts=[-0.3, -0.5]), label("b", tts=[-0.5, -0.3]), label("c", tts=[None, -0.1]), label("d")]
    assert [r is None for r in tts_agrees(rows, 1, CONTEXT)] == [True, False, True, True]
    assert tts_agrees(rows, 1, CONTEXT, margin=0.3) == [None] * 4


def test_heard_counts_tokens():
    rows = [spoken("a"), spoken("b", heard="a"), spoken("c", heard="c d e")]
    assert [r is None for r in heard(rows, 1, {}, most=0.5)] == [True, True, False]


def test_rules_run_in_order_and_name_their_reason():
    labels = [label("a"), label("b", text=""), label("c", text="z z"), label("d", logp=-9.0)]
    rules = [Rule("not_empty"), Rule("known_tokens"), Rule("confidence", {"keep": 0.25})]
    kept, rejected = select(labels, rules, LABEL_RULES, 1, CONTEXT, "here")
    assert [k.utt for k in kept] == ["a"]
    assert [(k.utt, reason.split(":")[0]) for k, reason in rejected] == [("b", "empty"), ("c", "unknown token"), ("d", "confidence")]


def test_unknown_rules_and_arguments_are_named():
    for rule, said in ((Rule("magic"), "no selection rule 'magic'"), (Rule("finite", {"x": 1}), "rule 'finite'")):
        with pytest.raises(UserError, match=said):
            select([spoken("a")], [rule], SYNTHETIC_RULES, 1, {}, "rounds.select_synthetic")


def test_schedules():
    assert [of_round([0.4, 0.6], n) for n in (1, 2, 3)] == [0.4, 0.6, 0.6]
    assert of_round(0.5, 7) == 0.5


def test_the_prior_may_change_the_choice():
    from cycle.config import Search
    from cycle.data.batch import Hypothesis

    hyps = [Hypothesis("a", -1.0), Hypothesis("b", -1.5)]
    assert choose("u", 9, hyps, [-5.0, -1.0], Search(prior_weight=0.0)).text == "a"
    chosen = choose("u", 9, hyps, [-5.0, -1.0], Search(prior_weight=0.5))
    assert chosen.text == "b" and chosen.logp == -1.5 and chosen.nbest == ["b", "a"]
    assert chosen.posterior == pytest.approx(1 / (1 + pow(2.718281828, -1.5)), abs=1e-6)  # scores -2 and -3.5
    assert choose("u", 9, [], [], Search()).text == ""
