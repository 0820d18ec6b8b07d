"""An update: what torch's AdamW, its clipping and a running average do parameter by parameter."""

import copy

import pytest
import torch
from torch import nn

from cycle.device import fabric
from cycle.settings import Optimizer
from cycle.train.part import Part
from tests import pretend_device

CONF = Optimizer(lr=0.05, warmup=0.3, floor=0.1, weight_decay=0.1, clip=1.0, ema=0.9)
HOST = fabric("cpu", "32")


class Net(nn.Module):
    def __init__(self, layers=2):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(layers))
        self.norm = nn.BatchNorm1d(3)
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)


def gradients(net, step, without=(), size=1.0):
    torch.manual_seed(100 + step)
    for name, param in net.named_parameters():
        drawn = size * torch.randn_like(param)
        if param.requires_grad and name not in without:
            param.grad = drawn


def by_hand(steps, without=lambda step: ()):
    """Torch's own optimizer over all parameters, to which no gradient is one of nought."""
    net = Net()
    params = [p for p in net.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(params, lr=0.05, weight_decay=0.1, betas=(0.9, 0.98))
    average, norms = [p.detach().clone() for p in params], []
    for step in range(steps):
        gradients(net, step, without(step), 0.1 if step % 2 else 3.0)
        for param in params:
            param.grad = torch.zeros_like(param) if param.grad is None else param.grad
        norms.append(float(nn.utils.clip_grad_norm_(params, 1.0)))
        adam.param_groups[0]["lr"] = 0.05 * (step + 1) / 3  # warming up: 0.3 of 11 updates
        adam.step()
        adam.zero_grad()
        weight = 1 - min(0.9, (step + 1) / (step + 10))
        average = [a + weight * (p.detach() - a) for a, p in zip(average, params, strict=True)]
    return net, average, norms


def updated(steps, without=lambda step: ()):
    part, norms = Part("net", Net(), CONF), []
    for step in range(steps):
        gradients(part.module, step, without(step), 0.1 if step % 2 else 3.0)
        norms.append(float(part.step(step, 11, HOST)))
        assert not part.has_gradient()
    return part, norms


@pytest.mark.parametrize("without", [lambda step: (), lambda step: ("layers.1.weight",) if step == 2 else ()])
def test_updates_are_torchs(without):
    part, norms = updated(3, without=without)
    net, average, expected = by_hand(3, without)
    assert norms == pytest.approx(expected, rel=1e-5) and norms[0] > 1 > norms[1]  # clipped, and not
    for (name, mine), theirs in zip(part.module.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6, msg=name)
    part.finish(HOST)
    for mine, theirs in zip(part.params, average, strict=True):
        torch.testing.assert_close(mine.detach(), theirs, rtol=1e-5, atol=1e-6)


def test_what_nothing_reaches_stays_as_it_is():
    fresh = Net().state_dict()
    part, _ = updated(3, without=lambda step: ("layers.0.weight", "norm.bias"))
    now = part.module.state_dict()
    assert {name for name in fresh if not torch.equal(fresh[name], now[name])} == {
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
        "norm.weight",
    }
    gradients(part.module, 3)
    part.step(3, 11, HOST)
    assert not torch.equal(fresh["layers.0.weight"], part.module.layers[0].weight)
    part, _ = updated(3, without=lambda step: ("layers.0.weight",))
    part.finish(HOST)
    assert torch.equal(fresh["layers.0.weight"], part.module.layers[0].weight)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(bad):
    part, _ = updated(2)
    before = [p.detach().clone() for p in part.params]
    gradients(part.module, 2)
    part.params[1].grad[0] = bad
    assert not part.step(2, 11, HOST).isfinite()
    assert all(torch.equal(p, b) for p, b in zip(part.params, before, strict=True))
    gradients(part.module, 2)
    part.step(2, 11, HOST)  # and nothing of it is left
    whole, _ = updated(3)
    assert part.weights.isfinite().all()
    assert float((part.weights - whole.weights).detach().abs().max()) < 0.1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_does_not_stay_in_the_statistics(bad):
    part, _ = updated(1)
    part.module.norm.running_mean.fill_(1.0)
    gradients(part.module, 1)
    part.step(1, 11, HOST)
    average = part.average[1].clone()
    part.module.norm.running_mean[0] = bad  # a forward pass that is not finite, and the gradient that comes of it
    part.module.norm.running_var.fill_(7.0)
    gradients(part.module, 2)
    part.params[0].grad[0] = bad
    part.step(2, 11, HOST)
    assert part.module.norm.running_mean.tolist() == [1.0] * 3 and part.module.norm.running_var.tolist() == [1.0] * 3
    torch.testing.assert_close(part.average[1], average + (1 - 3 / 12) * (1.0 - average))


def test_the_average_of_statistics_is_followed_too():
    part, _ = updated(1)
    part.module.norm.running_mean.fill_(1.0)
    gradients(part.module, 1)
    part.step(1, 11, HOST)  # decay 2 / 11
    part.finish(HOST)
    torch.testing.assert_close(part.module.norm.running_mean, torch.full((3,), 9 / 11))


def test_goes_on_from_a_state():
    part, _ = updated(2)
    other = Part("net", Net(), CONF)
    other.load(copy.deepcopy(part.state()))
    for each in (part, other):
        gradients(each.module, 2, ("norm.weight",))
        each.step(2, 11, HOST)
    assert all(torch.equal(a, b) for a, b in zip(part.params, other.params, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(part.average, other.average, strict=True))


def test_a_device_is_given_as_much_whatever_the_number_of_parameters():
    found = set()
    for layers in (2, 40):
        net = Net(layers)
        with pretend_device.device() as seen:
            net.to(pretend_device.DEVICE)
            part = Part("net", net, CONF)
            for step in range(2):
                gradients(net, step)
                seen.forget()
                part.step(step, 11, HOST)
            assert seen.waits.total() == 0, seen.waits
            found.add(seen.operations)
    assert len(found) == 1 and found.pop() < 40
