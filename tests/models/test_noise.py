"""No training noise inside, everything as it was behind."""

import pytest
import torch
from torch import nn

from cycle.models.noise import frozen, hush, quiet
from tests.models.test_espnet import batch, synthesizer
from tests.models.test_taken_apart import recognizer


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.rnn(x)[0])


@pytest.mark.parametrize("training", [True, False])
def test_quiet_computes_as_in_eval_mode_and_restores(training):
    torch.manual_seed(0)
    net, x = Net(), torch.randn(2, 5, 4)
    expected = net.eval()(x)
    net.train(training)
    with quiet(net):
        assert net.rnn.training and net.rnn.dropout == 0.0  # what cuDNN wants for a gradient
        torch.testing.assert_close(net(x), expected)
    assert [m.training for m in net.modules()] == [training] * 3 and net.rnn.dropout == 0.5


def test_quiet_restores_after_an_error():
    net = Net().train()
    with pytest.raises(RuntimeError), quiet(net):
        raise RuntimeError
    assert net.drop.training and net.rnn.dropout == 0.5


def test_a_layer_that_stands_still_in_training_still_does_behind_it():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    net[0].eval()
    with quiet(net):
        assert not any(m.training for m in net.modules())
    assert [m.training for m in net.modules()] == [True, False, True]


def test_frozen_lets_gradients_through_but_not_in():
    net = nn.Linear(3, 3)
    x = torch.randn(2, 3, requires_grad=True)
    with frozen(net.parameters()):
        net(x).sum().backward()
    assert x.grad is not None and net.weight.grad is None and net.weight.requires_grad


@pytest.mark.parametrize("name", ["conformer", "masks"])
def test_hushed_models_train_without_noise(name):
    model, data = recognizer(name).train(), batch()
    assert float(model.loss(data).value) != float(model.loss(data).value)
    hush(model)
    assert float(model.loss(data).value) == float(model.loss(data).value)
    spoken = synthesizer().train()
    assert float(spoken.loss(data).value) != float(spoken.loss(data).value)
    hush(spoken)
    assert float(spoken.loss(data).value) == float(spoken.loss(data).value)
