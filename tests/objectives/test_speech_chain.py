"""The judges: values by hand, gradients against autograd on the formula, and each objective moves exactly the models it says."""

import math

import pytest
import torch

from cycle.models.noise import frozen
from cycle.objectives.base import Models, create
from cycle.objectives.speech_chain import AsrThroughTts, TtsThroughAsr, expected_risk
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from tests.models.test_espnet import SPKS, TEXTS, batch, recognizer, synthesizer


def test_expected_risk_by_hand():
    logp = torch.tensor([[math.log(0.6), math.log(0.2), math.log(0.2)]])
    risk = torch.tensor([[0.0, 1.0, 2.0]])
    # p = 0.6, 0.2, 0.2; expected 0.6; mean risk 1
    assert float(expected_risk(logp, risk, torch.ones(1, 3, dtype=torch.bool))) == pytest.approx(-0.4, abs=1e-6)
    # the last entry is filling: p = 0.75, 0.25; expected 0.25; mean 0.5
    assert float(expected_risk(logp, risk, torch.tensor([[True, True, False]]))) == pytest.approx(-0.25, abs=1e-6)


def test_expected_risk_gradient_raises_the_better_hypothesis():
    logp = torch.zeros(2, 3, requires_grad=True)
    risk = torch.tensor([[0.0, 1.0, 2.0], [5.0, 4.0, 3.0]])
    expected_risk(logp, risk, torch.ones(2, 3, dtype=torch.bool)).sum().backward()
    exact = (risk - risk.mean(-1, keepdim=True)) / 3  # p (risk - expected risk), p uniform
    torch.testing.assert_close(logp.grad, exact)


def test_a_constant_added_to_the_risk_changes_nothing():
    logp, risk, valid = torch.randn(4, 3), torch.rand(4, 3), torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(expected_risk(logp, risk + 7, valid), expected_risk(logp, risk, valid), atol=1e-5, rtol=1e-5)


def judged(data):
    data.nbest = [[("a b c", -0.3), ("a b", -0.9)], [("b a", -0.2), ("b", -0.4), ("a", -0.8)], [("c c a b a", -0.1), ("c", -0.5)]]
    return data


@pytest.mark.parametrize("objective", [AsrSupervised(), TtsSupervised(), TtsThroughAsr(), AsrThroughTts()])
def test_each_objective_moves_exactly_the_models_it_says(objective):
    models = Models(recognizer().train(), synthesizer().train())
    others = models.modules(frozenset({"asr", "tts"} - objective.trains))
    with frozen(others):
        objective(judged(batch()), models, 0).value.backward()
    for name in ("asr", "tts"):
        moved = any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(models, name).parameters())
        assert moved == (name in objective.trains)
        assert all(p.requires_grad for p in getattr(models, name).model.parameters())


@pytest.mark.parametrize("objective", [TtsThroughAsr(), AsrThroughTts()])
def test_each_judge_lowers_what_it_claims(objective):
    torch.manual_seed(0)
    models = Models(recognizer(), synthesizer())
    (name,) = objective.trains
    optimizer = torch.optim.Adam(getattr(models, name).parameters(), lr=3e-3)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = objective(judged(batch()), models, 0).value
        loss.backward()
        optimizer.step()
        values.append(float(loss))
    assert values[-1] < values[0] - 0.05


def test_synthesised_text_is_the_text_that_is_judged():
    """Text and speech in step: a permuted text is heard worse once the synthesiser has learnt to be heard."""
    torch.manual_seed(0)
    models, data = Models(recognizer(), synthesizer()), batch()
    optimizer = torch.optim.Adam(models.tts.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        TtsThroughAsr()(data, models, 0).value.backward()
        optimizer.step()
    made = models.tts.synthesize(TEXTS, SPKS).speech
    right = models.asr.logp(made, [[t] for t in TEXTS]).sum()
    wrong = models.asr.logp(made, [[TEXTS[1]], [TEXTS[2]], [TEXTS[0]]]).sum()
    assert right > wrong


def test_create_names_the_mistake():
    from cycle.errors import UserError

    assert isinstance(create("cycle.objectives.speech_chain:AsrThroughTts", {"scale": 2.0}, "x"), AsrThroughTts)
    for use, args in (
        ("cycle.objectives.nothing:X", {}),
        ("cycle.objectives.supervised:X", {}),
        ("cycle.objectives.supervised:AsrSupervised", {"a": 1}),
    ):
        with pytest.raises(UserError, match=r"rounds\.objectives\.x"):
            create(use, args, "rounds.objectives.x")
