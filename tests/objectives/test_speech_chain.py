"""The judges: values by hand, gradients against autograd on the formula, and each objective moves exactly the models it says."""

import pytest
import torch

from cycle.models.noise import frozen
from cycle.objectives.base import Models, create
from cycle.objectives.speech_chain import AsrThroughTts, TtsThroughAsr
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from tests.models.test_espnet import SPKS, TEXTS, batch, recognizer, synthesizer


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
