"""Scoring without training noise: dropout and SpecAugment off, gradients still on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn


@contextlib.contextmanager
def quiet(module: nn.Module) -> Iterator[None]:
    """Puts a module into eval mode for a block.

    Recurrent layers stay in training mode, their dropout at nought: it computes the same, and cuDNN gives no gradient in eval mode.
    """
    was = module.training
    recurrent = {m: m.dropout for m in module.modules() if isinstance(m, nn.RNNBase)}
    module.eval()
    for layer in recurrent:
        layer.train()
        layer.dropout = 0.0
    try:
        yield
    finally:
        for layer, dropout in recurrent.items():
            layer.dropout = dropout
        module.train(was)


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
