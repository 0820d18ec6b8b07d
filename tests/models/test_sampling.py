"""Sampling against brute force and chi-square; Gumbel noise behind a choice against its definition."""

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare, kstest

from cycle.models.sampling import ctc_paths, drawn, gumbel_given, straight_through
from tests.models.test_ctc_search import all_strings, emissions


def same_frequencies(drawn, exact) -> float:
    """p-value of the counts of `drawn` against probabilities `exact`."""
    keys = list(exact)
    counts = [sum(1 for d in drawn if d == k) for k in keys]
    assert sum(counts) == len(drawn)
    return chisquare(counts, [exact[k] * len(drawn) / sum(exact.values()) for k in keys]).pvalue


@pytest.mark.parametrize("length", [3, 2])
def test_ctc_texts_come_as_often_as_ctc_says(length):
    torch.manual_seed(0)
    logp = emissions(3, B=2, T=3, V=3, sharp=0.8)
    texts = ctc_paths(logp, torch.tensor([3, length]), 4000)[1]
    exact = all_strings(logp[1, :length])
    assert same_frequencies([tuple(d) for d in texts], exact) > 0.01


def test_padding_and_company_change_no_distribution():
    torch.manual_seed(0)
    logp = emissions(3, B=1, T=3, V=3, sharp=0.8)
    padded = torch.cat([logp, torch.randn(1, 4, 3).log_softmax(-1)], dim=1).repeat(2, 1, 1)
    texts = ctc_paths(padded, torch.tensor([3, 7]), 4000)[0]
    assert same_frequencies([tuple(d) for d in texts], all_strings(logp[0])) > 0.01


def test_one_choice_is_torchs_and_never_what_cannot_be(monkeypatch):
    torch.manual_seed(0)
    logp = (torch.randn(5000, 7) * 3).log_softmax(-1)
    torch.manual_seed(1)
    theirs = torch.multinomial(logp.exp(), 1)[:, 0]
    torch.manual_seed(1)
    assert torch.equal(drawn(logp), theirs)
    logp = torch.tensor([[0.5, 0.2, 0.3]]).log()
    assert same_frequencies(drawn(logp.expand(40, 500, 3)).flatten().tolist(), dict(enumerate(logp[0].exp().tolist()))) > 0.01
    monkeypatch.setattr(torch.Tensor, "exponential_", torch.Tensor.zero_)
    assert drawn(torch.tensor([[-torch.inf, -1e30, 0.0]])).tolist() == [2]


def test_noise_behind_a_choice_is_what_made_it():
    """Choosing first and drawing the noise afterwards gives the same joint distribution as the noise choosing."""
    torch.manual_seed(0)
    logp = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    chosen = torch.multinomial(logp.exp(), 1)[:, 0]
    later = gumbel_given(logp, chosen)
    assert (later.argmax(-1) == chosen).all()
    first = logp - torch.empty_like(logp).exponential_().log()
    for k in range(3):
        for j in range(3):
            assert kstest(later[chosen == k, j].numpy(), first[first.argmax(-1) == k, j].numpy()).pvalue > 0.001


def test_straight_through_by_hand():
    torch.manual_seed(0)
    logits = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
    logp, chosen = logits.log_softmax(-1), torch.tensor([1])
    torch.manual_seed(5)
    hot = straight_through(logp, chosen, temperature=0.7)
    torch.testing.assert_close(hot.detach(), torch.tensor([[0.0, 1.0, 0.0]]))
    value = torch.tensor([[2.0, -1.0, 0.5]])
    (gradient,) = torch.autograd.grad((hot * value).sum(), logits)
    torch.manual_seed(5)
    noise = (gumbel_given(logp, chosen) - logp).detach()
    soft = ((logits + noise) / 0.7).softmax(-1).detach()
    exact = soft * (value - (soft * value).sum()) / 0.7  # the softmax's Jacobian, written out
    torch.testing.assert_close(gradient, exact)


def test_straight_through_follows_the_expected_value():
    """The gradient is biased, but with a linear value it points where the expectation grows."""
    torch.manual_seed(0)
    value = torch.tensor([2.0, -1.0, 0.5])
    logits = torch.tensor([0.2, 0.1, -0.3], requires_grad=True)
    many = logits.log_softmax(-1).expand(20_000, 3)
    hot = straight_through(many, torch.multinomial(many.detach().exp(), 1)[:, 0], 1.0)
    (found,) = torch.autograd.grad((hot * value).sum(-1).mean(), logits)
    (exact,) = torch.autograd.grad((logits.softmax(-1) * value).sum(), logits)
    assert torch.cosine_similarity(found, exact, dim=0) > 0.97


def test_all_strings_is_a_distribution():
    assert math.isclose(sum(all_strings(emissions(0, B=1, T=3, V=3)[0]).values()), 1.0, rel_tol=1e-5)
    assert len(list(itertools.product(range(3), repeat=3))) == 27
