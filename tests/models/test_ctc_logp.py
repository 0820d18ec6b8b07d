"""CTC's sum over paths without questions to the device is torch's, and that over all strings."""

import math

import pytest
import torch

from cycle.models.ctc_logp import by_steps, by_torch, fits, sums
from cycle.models.recognizer import UNFIT
from tests.models.test_ctc_search import all_strings


def case(seed: int, B: int = 6, T: int = 9, V: int = 5, L: int = 4):
    """Scores (B, T, V), frames, ids, lengths; among the texts an empty one, repeated tokens, and one that does not fit."""
    torch.manual_seed(seed)
    scores = (2 * torch.randn(B, T, V, dtype=torch.double)).requires_grad_()
    ids = torch.randint(1, V, (B, L))
    ids[1, :3] = 2
    lengths, frames = torch.tensor([4, 3, 0, 2, 4, 1]), torch.tensor([9, 5, 4, 9, 3, 1])
    ids[torch.arange(L) >= lengths[:, None]] = -1
    return scores, frames, ids, lengths


def test_by_hand():
    """Two frames, one token of probability 0.3 and 0.6: both frames, or either of them: 0.3 0.6 + 0.3 0.4 + 0.7 0.6."""
    logp = torch.tensor([[[0.7, 0.3], [0.4, 0.6]]]).log()
    value = by_steps(logp, torch.tensor([2]), torch.tensor([[1]]), torch.tensor([1]))
    assert math.isclose(value.exp(), 0.18 + 0.12 + 0.42, rel_tol=1e-6)


def test_the_gradient_by_hand():
    """Of the same: the token's posterior is (0.18 + 0.12) / 0.72 in the first frame and (0.18 + 0.42) / 0.72 in the second."""
    logp = torch.tensor([[[0.7, 0.3], [0.4, 0.6]]]).log().requires_grad_()
    by_steps(logp, torch.tensor([2]), torch.tensor([[1]]), torch.tensor([1])).backward()
    torch.testing.assert_close(logp.grad, torch.tensor([[[0.42, 0.30], [0.12, 0.60]]]) / 0.72)


@pytest.mark.parametrize("seed", range(3))
def test_every_string_has_the_probability_of_all_its_paths(seed):
    torch.manual_seed(seed)
    logp = torch.randn(1, 4, 3).log_softmax(-1)
    for text, p in all_strings(logp[0]).items():
        ids = torch.tensor([[*text, 0, 0]])  # what is behind a text does not matter
        value = by_steps(logp, torch.tensor([4]), ids, torch.tensor([len(text)]))
        assert math.isclose(value.exp(), p, rel_tol=1e-5), text


@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_torchs(seed):
    scores, frames, ids, lengths = case(seed)
    found = []
    for way in (by_steps, by_torch):
        value = way(scores.log_softmax(-1), frames, ids, lengths)
        (value * torch.arange(1, 7)).sum().backward()
        found.append((value.detach(), scores.grad))
        scores.grad = None
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0].eq(UNFIT).tolist() == [False, False, False, False, True, False] and not found[0][1][4].any()


def test_the_gradient_is_that_of_the_value():
    """Also of what is no distribution."""
    scores, frames, ids, lengths = case(0)
    assert torch.autograd.gradcheck(lambda s: by_steps(s, frames, ids, lengths), (scores,))


def test_long_recordings_stay_finite():
    logp = torch.randn(1, 2000, 5).mul(5).log_softmax(-1).requires_grad_()
    ids, frames, lengths = torch.randint(1, 5, (1, 300)), torch.tensor([2000]), torch.tensor([300])
    ours = by_steps(logp, frames, ids, lengths)
    torch.testing.assert_close(ours, by_torch(logp, frames, ids, lengths), rtol=1e-5, atol=1e-2)
    (slope,) = torch.autograd.grad(ours, logp)
    torch.testing.assert_close(slope.sum(-1), torch.ones(1, 2000), atol=2e-2, rtol=0)  # some label sounds in every frame


def test_what_fits():
    ids = torch.tensor([[1, 1, 2], [1, 2, 2], [3, 3, 3]])
    assert fits(torch.tensor([3, 3, 2]), ids, torch.tensor([3, 2, 1])).tolist() == [False, True, True]


def test_paths_begin_with_either_of_the_first_two_labels():
    emit = torch.tensor([[[-1.0, -2.0, -3.0]], [[-1.0, -2.0, -3.0]]])
    found = sums(emit, torch.tensor([[0, 4, 0]]))
    assert found[0, 0, :2].tolist() == [-1.0, -2.0] and found[0, 0, 2] < -1e29
    torch.testing.assert_close(found[1, 0], torch.tensor([-2.0, -2 + math.log(math.exp(-1) + math.exp(-2)), -5.0]))
