"""SCST and MWER: values by hand, and on a toy model the exact gradient of the expected reward over all strings."""

import math

import pytest
import torch

from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.eval.errors import distance
from cycle.objectives.base import Models
from cycle.objectives.sequence import Mwer, Scst, expected_risk, filled, others_mean, policy_gradient
from tests.objectives.toy import STRINGS, ToyRecognizer, toy_batch

REF = "a b"
REWARD = torch.tensor([-distance(REF.split(), s.split()) / 2 for s in STRINGS])


def exact_gradient(toy: ToyRecognizer, temperature: float = 1.0) -> torch.Tensor:
    """d E[reward] / d table, over all strings."""
    (gradient,) = torch.autograd.grad((toy.p(temperature) * REWARD).sum(), toy.table)
    return gradient


def test_the_toy_is_a_distribution():
    assert float(ToyRecognizer().p().sum()) == pytest.approx(1.0, abs=1e-6)
    assert float(ToyRecognizer().p(0.5).sum()) == pytest.approx(1.0, abs=1e-6)


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


def test_mwer_over_the_full_list_is_the_exact_expected_risk():
    toy = ToyRecognizer()
    objective = Mwer(nbest=len(STRINGS), by="attention")
    loss = objective(toy_batch([REF]), Models(toy, None), 0)
    assert float(loss.value) == pytest.approx(float((toy.p() * -REWARD).sum() + REWARD.mean()), abs=1e-5)
    (gradient,) = torch.autograd.grad(loss.value, toy.table)
    torch.testing.assert_close(gradient, -exact_gradient(toy), atol=1e-5, rtol=1e-4)


def test_others_mean_by_hand():
    reward = torch.tensor([[1.0, 2.0, 6.0], [3.0, 9.0, 5.0]])
    valid = torch.tensor([[True, True, True], [True, False, True]])
    assert others_mean(reward, valid).tolist() == [[4.0, 3.5, 1.5], [5.0, 8.0 / 2, 3.0]]
    alone = others_mean(reward, torch.tensor([[False, True, False]] * 2))
    assert alone[0, 1] == 2.0 and alone[1, 1] == 9.0  # no others: no advantage


def test_policy_gradient_by_hand():
    logp = torch.tensor([[-1.0, -2.0, -9.0]], requires_grad=True)
    reward, valid = torch.tensor([[-0.5, 0.0, 7.0]]), torch.tensor([[True, True, False]])
    value = policy_gradient(logp, reward, torch.tensor([[-0.25]]), valid)
    # -(1/2) ((-0.5 + 0.25) * -1 + (0 + 0.25) * -2)
    assert float(value.detach()) == pytest.approx(-0.5 * (0.25 - 0.5))
    value.sum().backward()
    assert logp.grad.tolist() == [[0.125, -0.125, 0.0]]  # descending lowers the worse sample and raises the better one


@pytest.mark.parametrize(("baseline", "temperature"), [("others", 1.0), ("greedy", 1.0), ("others", 0.5)])
def test_the_mean_scst_gradient_is_the_exact_one(baseline, temperature):
    torch.manual_seed(1)
    toy = ToyRecognizer()
    objective = Scst(samples=4, baseline=baseline, by="attention", temperature=temperature)
    loss = objective(toy_batch([REF] * 6000), Models(toy, None), 0)
    (gradient,) = torch.autograd.grad(loss.value, toy.table)
    exact = exact_gradient(toy, temperature)
    assert (gradient + exact).norm() < 0.08 * exact.norm()  # 24,000 samples; the sign and the scale, not only the direction


def test_the_baseline_lowers_the_variance():
    def spread(baseline):
        values = []
        for seed in range(60):
            torch.manual_seed(seed)
            toy = ToyRecognizer()
            objective = Scst({"error_rate": 1.0}, samples=4, baseline=baseline, by="attention")
            loss = objective(toy_batch([REF] * 20), Models(toy, None), 0)
            values.append(torch.autograd.grad(loss.value, toy.table)[0])
        return torch.stack(values).var(0).sum()

    raw = []
    for seed in range(60):
        torch.manual_seed(seed)
        toy = ToyRecognizer()
        texts = toy.sample(toy_batch([REF] * 20).speech, 4)
        reward = torch.tensor([[float(REWARD[STRINGS.index(t)]) for t in row] for row in texts])
        value = policy_gradient(toy.logp(None, texts), reward, torch.zeros(20, 1), torch.ones(20, 4, dtype=torch.bool)).mean()
        raw.append(torch.autograd.grad(value, toy.table)[0])
    assert spread("others") < 0.7 * torch.stack(raw).var(0).sum()


@pytest.mark.parametrize(
    "objective", [Scst(samples=4, by="attention"), Scst(baseline="greedy", by="attention"), Mwer(nbest=8, by="attention")]
)
def test_it_lowers_the_expected_error(objective):
    torch.manual_seed(0)
    toy = ToyRecognizer()
    optimizer = torch.optim.Adam(toy.parameters(), lr=0.05)
    before = float((toy.p() * REWARD).sum().detach())
    for step in range(200):
        optimizer.zero_grad()
        loss = objective(toy_batch([REF] * 8), Models(toy, None), step)
        if loss.weight:
            loss.value.backward()
        optimizer.step()
    after = float((toy.p() * REWARD).sum().detach())
    assert before < -0.8 and after > -0.15


def test_what_cannot_be_judged_is_skipped_and_counted():
    toy = ToyRecognizer()
    for objective in (Scst(by="attention"), Mwer(by="attention")):
        half = objective(toy_batch([REF, ""]), Models(toy, None), 0)
        assert float(half.stats["skipped"]) == 0.5 and half.weight
        none = objective(toy_batch(["", ""]), Models(toy, None), 0)
        assert none.weight == 0 and not none.value.requires_grad and float(none.stats["skipped"]) == 1.0


def test_nothing_found_is_nothing_to_learn_from():
    toy = ToyRecognizer()
    toy.transcribe = lambda speech, search: [[], []]
    loss = Mwer(by="attention")(toy_batch([REF, REF]), Models(toy, None), 0)
    assert loss.weight == 0 and float(loss.value) == 0


def test_filled():
    assert filled([["a", "b"], ["c"], []], 3) == [["a", "b", "a"], ["c", "c", "c"], ["", "", ""]]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scst({"beauty": 1.0}), "beauty.*error_rate"),
        (lambda: Scst({"error_rate": 0.0}), "no reward"),
        (lambda: Scst(samples=1), "two samples"),
        (lambda: Scst(baseline="none"), "others, greedy"),
        (lambda: Scst(by="rnnt"), "ctc, attention"),
        (lambda: Mwer(nbest=1), "two hypotheses"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(UserError, match=said):
        make()


class Listening(ToyRecognizer):
    """Remembers the speech that it hears; its variation is another one each time."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def as_in_training(self, speech):
        return Speech(speech.feats + len(self.heard) + 1, speech.lengths)

    def sample(self, speech, *args):
        self.heard.append(speech)
        return super().sample(speech, *args)

    def transcribe(self, speech, search):
        self.heard.append(speech)
        return super().transcribe(speech, search)

    def logp(self, speech, *args):
        self.heard.append(speech)
        return super().logp(speech, *args)


@pytest.mark.parametrize("varied", [True, False])
@pytest.mark.parametrize("objective", [Scst, Mwer])
def test_samples_and_scores_hear_the_same_speech(objective, varied):
    toy, batch = Listening(), toy_batch([REF])
    torch.manual_seed(0)
    objective(by="attention", varied=varied)(batch, Models(toy, None), 0)
    assert len(toy.heard) >= 2 and all(s is toy.heard[0] for s in toy.heard)
    assert (toy.heard[0] is batch.speech) != varied
