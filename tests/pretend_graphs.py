"""CUDA graphs on the pretended GPU: what is recorded is done again with the memory it was recorded with, and nothing else.

So numbers of the host that went into an operation stay what they were, and reading memory that its owner has given back since is an error
here (a GPU would read what lies there now).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.pretend_device import Held, Pretended

WARM = 3  # runs before the recording, as torch has them


class Recording:
    """Operations on the device, in order."""

    def __init__(self, seen: Pretended, before: Recording | None = None):
        self.seen, self.operations = seen, list[Any]()
        self.made = set(before.made) if before else set[int]()  # memory of the recording itself
        self.owners: dict[int, weakref.ref[Tensor]] = dict(before.owners) if before else {}  # who holds the other memory that it reads

    def add(self, func: Any, args: Any, kwargs: Any, out: Any, held: list[Held]) -> None:
        for tensor in held:
            place = tensor.raw.untyped_storage().data_ptr()
            if place not in self.made:
                self.owners.setdefault(place, weakref.ref(tensor))
        places = {t.untyped_storage().data_ptr() for t in tree_leaves(out) if isinstance(t, Tensor)}
        self.made |= places - set(self.owners)
        self.operations.append((func, args, kwargs, out))

    def __enter__(self) -> Recording:
        assert self.seen.recording is None
        self.seen.recording = self
        return self

    def __exit__(self, *_: object) -> None:
        self.seen.recording = None

    def replay(self) -> None:
        assert all(owner() is not None for owner in self.owners.values()), "memory that was given back since"
        for func, args, kwargs, out in self.operations:
            again = self.seen.compute(func, args, kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recorder(seen: Pretended) -> Callable[..., Any]:
    """`torch.cuda.make_graphed_callables` for one module on the pretended device."""

    def record(module: nn.Module, inputs: tuple[Tensor, ...], allow_unused_input: bool = False, pool: Any = None) -> Callable[..., Any]:
        params, noise = tuple(module.parameters()), seen.noise
        wanted = [p for p in params if p.requires_grad]

        def back(outputs: Any, slopes: Any) -> Any:
            return torch.autograd.grad([o for o in outputs if o.requires_grad], wanted, slopes, allow_unused=allow_unused_input)

        for _ in range(WARM):
            outputs = module(*inputs)
            back(outputs, [torch.ones_like(o) for o in outputs if o.requires_grad])
        with Recording(seen) as forward:
            outputs = module(*inputs)
        slopes = [torch.ones_like(o) if o.requires_grad else None for o in outputs]
        with Recording(seen, forward) as backward:
            found = iter(back(outputs, [s for s in slopes if s is not None]))
        grads = [next(found) if p.requires_grad else None for p in params]
        static = [o.detach() for o in outputs]
        seen.noise = noise  # a GPU's generator is put back by who records

        class Replayed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
                for mine, new in zip(inputs, given, strict=False):
                    assert mine.shape == new.shape and mine.dtype == new.dtype
                    mine.copy_(new)
                forward.replay()
                return tuple(o.detach() for o in static)

            @staticmethod
            def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
                for slope, new in zip(slopes, given, strict=True):
                    if slope is not None:
                        slope.copy_(new)
                backward.replay()
                return (*[None] * len(inputs), *[g if g is None else g.detach() for g in grads])

        return lambda *given: Replayed.apply(*given, *params)

    return record


def stand_in(module: nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> Callable[..., Any]:
    """The same on the host, where nothing is recorded: computes it anew each time."""
    params = [p for p in module.parameters() if p.requires_grad]

    class Computed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                ctx.outputs = module(*given[: len(inputs)])
            return tuple(o.detach() for o in ctx.outputs)

        @staticmethod
        def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
            pairs = [(o, slope) for o, slope in zip(ctx.outputs, given, strict=True) if o.requires_grad]
            grads = torch.autograd.grad([o for o, _ in pairs], params, [slope for _, slope in pairs], allow_unused=True)
            return (*[None] * len(inputs), *grads)

    return lambda *given: Computed.apply(*given, *params)
