"""Scoring without training noise: dropout and SpecAugment off, gradients still on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn


@contextlib.contextmanager
def quiet(module: nn.Module) -> Iterator[None]:
    """Puts a module into eval mode for a block; behind it each layer has the mode that it had.

    Recurrent layers are in training mode, their dropout at nought: it computes the same, and cuDNN gives no gradient in eval mode.
    """
    layers = list(module.modules())
    was = [layer.training for layer in layers]
    recurrent = {layer: layer.dropout for layer in layers if isinstance(layer, nn.RNNBase)}
    _switch(layers, [layer in recurrent for layer in layers])
    for layer in recurrent:
        layer.dropout = 0.0
    try:
        yield
    finally:
        for layer, dropout in recurrent.items():
            layer.dropout = dropout
        _switch(layers, was)


def _switch(layers: list[nn.Module], modes: list[bool]) -> None:
    """What `nn.Module.train` does, in a fraction of its time: it would take a millisecond of a step, for 245 layers, in each block."""
    for layer, mode in zip(layers, modes, strict=True):
        object.__setattr__(layer, "training", mode)  # a module's own looks among parameters and layers first


def hush(module: nn.Module) -> None:
    """Switches dropout, zoneout and SpecAugment off for good, in training too: for comparing steps."""
    for layer in module.modules():
        for rate in ("p", "dropout", "dropout_rate", "zoneout_rate"):
            if isinstance(getattr(layer, rate, None), float):
                setattr(layer, rate, 0.0)
        if getattr(layer, "specaug", None) is not None:
            layer.specaug = None


@contextlib.contextmanager
def frozen(params: Iterable[nn.Parameter]) -> Iterator[None]:
    """None of these parameters receives a gradient inside the block; activations still carry them."""
    trained = [p for p in params if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
