"""CUDA graphs: a network is recorded once for each shape of its inputs, and replayed from then on.

Small models on short sentences are bound by the host, which gives a GPU a thousand small operations a step, one by one. A recording goes to
it as a whole. What it computes with is the memory that was recorded: numbers of the host that went into it, such as random ones, would stay
what they were (`drops_layers`), and tensors that have been replaced since would be read where they lay (they are kept).
"""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from cycle.device import PINNING

log = logging.getLogger("cycle")
AFTER = 2  # times that a shape is computed step by step before it is recorded, which costs as much as some five steps

DROPPING = ("layer_drop_rate", "stochastic_depth_rate", "attn_branch_drop_rate")


def recordable(fabric: Fabric) -> bool:
    """Whether what runs here can be recorded: on a GPU, and by one process, since ranks talk to the GPU in threads."""
    if fabric.device.type != "cpu" and fabric.world_size > 1:
        log.warning("graphs: true replays in one process; %d ranks train step by step", fabric.world_size)
    return fabric.device.type != "cpu" and fabric.world_size == 1


def drops_layers(model: nn.Module) -> bool:
    """Whether the host draws which layers of an ESPnet model run: a recording would leave out the same ones for ever."""
    return any(getattr(module, rate, 0) > 0 for module in model.modules() for rate in DROPPING)


class _Network(nn.Module):
    """A function of a model as a module, whose `forward` torch may replace."""

    def __init__(self, function: Callable[..., Any], model: nn.Module):
        super().__init__()
        self.function, self.model = function, model

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.model, *inputs)


class Graphs:
    """A function of a model and tensors to a tuple of tensors, recorded by shapes.

    What a replay leaves, gradients included, lies in memory that the next one writes over. So a call is replayed only if the gradient of
    the last one has been computed and used: no parameter has one. Others are computed step by step, and so is evaluation.

    Args:
        function: `function(model, *inputs)`; the inputs have no gradient.
        on: otherwise everything is computed step by step.
        record: records a module for inputs like the given ones; torch's way unless told otherwise.
    """

    def __init__(self, function: Callable[..., Any], model: nn.Module, on: bool = True, record: Callable[..., Any] | None = None):
        self.network, self.on, self.record = _Network(function, model), on, record or torch.cuda.make_graphed_callables
        self.params = list(model.parameters())
        self.seen, self.ready = Counter[Any](), dict[Any, Callable[..., Any]]()
        self._open: Callable[[], Any] = lambda: None  # the last replay, as long as nobody has gone back through it
        self._kept: list[Tensor] = []
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        training = self.on and self.network.model.training and torch.is_grad_enabled() and not any(t.requires_grad for t in inputs)
        if not training or self._open() is not None or any(p.grad is not None for p in self.params):
            return self.network(*inputs)  # type: ignore[no-any-return]
        key = tuple((t.shape, t.dtype) for t in inputs)
        if key not in self.ready:
            self.seen[key] += 1
            if self.seen[key] <= AFTER:
                return self.network(*inputs)  # type: ignore[no-any-return]
            self.ready[key] = self._record(*inputs)
        out = self.ready[key](*inputs)
        self._opened(out)
        return out

    def _record(self, *inputs: Tensor) -> Callable[..., Any]:
        """A recording for inputs of these shapes; the statistics of BatchNorm and the random numbers stay as they were."""
        network, on_gpu = _Network(self.network.function, self.network.model), inputs[0].is_cuda
        buffers = list(network.buffers())
        before = [b.clone() for b in buffers]
        if self._pool is None and on_gpu:
            self._pool = torch.cuda.graph_pool_handle()
        precision = torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), cache_enabled=False)
        with torch.random.fork_rng([inputs[0].device] if on_gpu else []), precision, PINNING:
            made = self.record(network, tuple(t.clone() for t in inputs), allow_unused_input=True, pool=self._pool)
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        self._kept += [t for m in network.modules() for t in vars(m).values() if isinstance(t, Tensor) and not t.requires_grad]
        return made  # type: ignore[no-any-return]

    def _opened(self, out: Any) -> None:
        """Remembers a replay until its gradient has been computed, or nobody holds what came out of it."""
        node = next((t.grad_fn for t in out if t.grad_fn is not None), None)
        if node is not None:
            self._open = weakref.ref(node)
            node.register_prehook(self._closed)

    def _closed(self, _: Any) -> None:
        self._open = lambda: None
