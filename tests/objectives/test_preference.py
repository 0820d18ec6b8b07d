"""DPO and self-play: numbers by hand, gradients against autograd, pairs that mean what they say, a reference that stays."""

import math

import pytest
import torch

from cycle.errors import UserError
from cycle.models.synthesizer import Action
from cycle.objectives.base import Models
from cycle.objectives.preference import AsrDpo, AsrSelfPlay, TtsDpo, TtsSelfPlay, dpo, extremes, spread_of, stacked
from tests.models.test_espnet import batch, synthesizer
from tests.objectives.tiny import descent, origin, pair, started, tacotron, with_lists
from tests.objectives.toy import ToyRecognizer, toy_batch


def test_dpo_by_hand():
    better, worse = torch.tensor([-1.0], requires_grad=True), torch.tensor([-3.0], requires_grad=True)
    value = dpo(better, worse, torch.tensor([-2.0]), torch.tensor([-2.5]), 0.5)
    margin = 0.5 * ((-1.0 + 2.0) - (-3.0 + 2.5))  # 0.75
    assert float(value) == pytest.approx(math.log(1 + math.exp(-margin)))
    value.sum().backward()
    slope = -0.5 / (1 + math.exp(margin))
    assert float(better.grad) == pytest.approx(slope) and float(worse.grad) == pytest.approx(-slope)


def test_at_the_reference_the_loss_is_ln_two():
    same = torch.randn(4)
    torch.testing.assert_close(dpo(same, same - 3, same, same - 3, 0.3), torch.full((4,), math.log(2)))


def test_extremes():
    reward = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, 0.9], [1.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
    valid = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [False, True, True]])
    best, worst, usable = extremes(reward, valid, 0.0)
    assert best[0] == 1 and worst[0] == 0 and best[3] == 2 and worst[3] == 1
    assert usable.tolist() == [True, False, False, True]
    assert extremes(reward, valid, 0.6)[2].tolist() == [True, False, False, False]
    assert not extremes(reward, torch.zeros_like(valid), 0.0)[2].any()


def test_the_optimum_of_dpo_is_the_tilted_reference():
    """Three outputs, preferences drawn by Bradley-Terry from rewards: the loss is least where p is proportional to ref exp(r / beta)."""
    reward, reference, beta = torch.tensor([0.0, 0.5, 1.5]), torch.tensor([0.5, 0.3, 0.2]).log(), 0.7
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9)

    def expected():
        optimizer.zero_grad()
        p = logits.log_softmax(-1)
        total = sum(torch.sigmoid(reward[i] - reward[j]) * dpo(p[i], p[j], reference[i], reference[j], beta)
                    for i in range(3) for j in range(3) if i != j)  # fmt: skip
        total.backward()
        return total

    optimizer.step(expected)
    torch.testing.assert_close(logits.detach().softmax(-1), (reference + reward / beta).softmax(-1), atol=1e-3, rtol=1e-3)


class ToyOrigin:
    language, updates = "cmn", 10

    def __init__(self):
        self.asr = ToyRecognizer().requires_grad_(False)


@pytest.mark.parametrize(("objective", "goal"), [(AsrDpo(nbest=8, by="attention"), "a b"), (AsrSelfPlay(by="attention"), "a b")])
def test_it_prefers_the_better_text(objective, goal):
    toy, start = ToyRecognizer(), ToyOrigin()
    objective.begin(start)
    before = float(toy.one(goal).detach()) - float(toy.one("c c").detach())
    logged = descent(objective, Models(toy, None), toy_batch([goal] * 4), 100, lr=0.05)
    assert logged[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert logged[-1]["loss"] < 0.5 and logged[-1]["accuracy"] == 1.0 and logged[-1]["better_gain"] > 0
    assert float(toy.one(goal).detach()) - float(toy.one("c c").detach()) > before + 1
    assert torch.equal(start.asr.table, ToyRecognizer().table)  # the reference has not moved


def test_lists_of_the_stream_need_no_true_text():
    data = with_lists()
    data.texts = [""] * 3
    loss = started(AsrDpo())(data, pair(), 0)
    assert loss.weight == 3 and float(loss.value.detach()) == pytest.approx(math.log(2), abs=1e-4)


def test_the_better_of_a_list_is_that_of_higher_reward():
    """Audio and text in step: after training each recording's own best text has gained on its worst."""
    models, data, objective = pair(), with_lists(), started(AsrDpo(beta=1.0))
    logged = descent(objective, models, data, 40)
    assert logged[-1]["loss"] < 0.3
    start = origin()
    for i, (better, worse) in enumerate((("a b c", "a b"), ("b a", "a"), ("c c a b a", "c"))):
        speech = type(data.speech)(data.speech.feats[i : i + 1], data.speech.lengths[i : i + 1])
        texts = [[better, worse]]
        gain = (models.asr.eval().logp(speech, texts) - start.asr.logp(speech, texts))[0]
        assert gain[0] > gain[1]


@pytest.mark.parametrize(
    ("objective", "make"),
    [
        (TtsDpo, synthesizer),
        (TtsSelfPlay, tacotron),
        pytest.param(TtsDpo, tacotron, marks=pytest.mark.all),
        pytest.param(TtsSelfPlay, synthesizer, marks=pytest.mark.all),
    ],
)
def test_the_synthesiser_learns_to_prefer(objective, make):
    models = pair(make)
    slow = make is tacotron  # sentence by sentence, frame by frame: few steps, always the same draw
    made = started(objective(beta=0.01, spread={"frame": 1.0}), make)
    logged = descent(made, models, batch(), 6 if slow else 40, lr=1e-2 if slow else 1e-3, seed=0 if slow else None)
    assert logged[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    late = logged[-5:]
    assert sum(x["loss"] for x in late) / 5 < math.log(2) - 0.02 and sum(x["margin"] for x in late) > 0


def test_rewards_of_renderings():
    data = batch()
    objective = started(TtsDpo({"heard": 1.0, "heard_logp": 0.1, "speaker": 1.0}, renderings=3))
    assert objective(data, pair(), 0).weight
    data.speech = None
    assert started(TtsDpo({"heard": 1.0, "heard_logp": 0.1}, renderings=3))(data, pair(), 0).weight
    assert "text" in TtsDpo().streams and "text" not in objective.streams  # without a recording the speaker cannot be judged


@pytest.mark.parametrize("varied", [True, False])
@pytest.mark.parametrize("make", [AsrDpo, AsrSelfPlay])
def test_pair_and_reference_hear_the_same_speech(make, varied, monkeypatch):
    """Search, sampling and both scores: of the training variation, or of the recording as it is; never of both."""
    models, objective, heard = pair(), started(make(varied=varied)), []

    def listen(module, name):
        work = getattr(module, name)

        def listening(speech, *args):
            heard.append(float(speech.feats.mean()) > 50)
            return work(type(speech)(speech.feats % 100, speech.lengths), *args)

        monkeypatch.setattr(module, name, listening)

    for module, names in ((objective.origin.asr, ("transcribe", "sample", "logp")), (models.asr, ("logp",))):
        for name in names:
            listen(module, name)
    monkeypatch.setattr(models.asr, "as_in_training", lambda speech: type(speech)(speech.feats + 100, speech.lengths))
    objective(batch(), models, 0)
    assert heard == [varied] * 3


def test_equal_texts_are_no_pair():
    data, objective = batch(), started(AsrSelfPlay())
    objective.origin.asr.sample = lambda *args: [[t] for t in data.texts]
    assert objective(data, pair(), 0).weight == 0


def test_stacked():
    both = stacked(Action(torch.ones(1, 2, 3), torch.tensor([2])), Action(torch.ones(2, 4, 3), torch.tensor([4, 1])))
    assert both.values.shape == (3, 4, 3) and both.lengths.tolist() == [2, 4, 1] and float(both.values[0].sum()) == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AsrDpo(nbest=1), "two hypotheses"),
        (lambda: AsrDpo(beta=0.0), "not above 0"),
        (lambda: TtsDpo({"beauty": 1.0}), "beauty"),
        (lambda: TtsDpo(renderings=1), "two"),
        (lambda: spread_of({"colour": 1.0}), "colour"),
        (lambda: spread_of({"pitch": 0.0}), "pitch"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(UserError, match=said):
        make()
