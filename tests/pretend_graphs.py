"""CUDA graphs on the pretended GPU: what is recorded is done again with the memory it was recorded with, and nothing else.

So numbers of the host that went into an operation stay what they were. Reading memory that its owner has given back since is an error here
(a GPU would read what lies there now), and a replay spoils what other recordings have left, with which it may share memory.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.pretend_device import Held, Pretended, leaves

STREAMS: dict[int, Any] = {}  # that were used with a pool


class Tape:
    """`torch.cuda.CUDAGraph`: operations on the device, in order.

    Attributes:
        replays: how often all tapes of a device were replayed.
    """

    replays = 0

    def __init__(self, seen: Pretended, pools: dict[Any, list[Tape]]):
        self.seen, self.pools, self.operations = seen, pools, list[Any]()
        self.made = set[int]()  # memory of the recording itself
        self.numbers: dict[int, Tensor] = {}  # tensors in it, one for each place
        self.owners: dict[int, weakref.ref[Tensor]] = {}  # who holds the other memory that it reads
        self.before: Tape | None = None  # whose backward pass this is

    def capture_begin(self, pool: list[Tape], capture_error_mode: str) -> None:
        assert self.seen.recording is None
        assert STREAMS.setdefault(id(pool), self.seen.stream) is self.seen.stream is not None, "memory is not shared between streams"
        if pool and pool[-1].before is None and len(pool) % 2:  # forward and backward take turns
            self.before, self.made, self.owners = pool[-1], set(pool[-1].made), dict(pool[-1].owners)
        pool.append(self)
        self.pools[self] = pool
        self.seen.recording = self

    def capture_end(self) -> None:
        self.seen.recording = None
        with torch._C._DisableTorchDispatch():
            for tensor in leaves([out for *_, out in self.operations]):
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    memory = tensor.untyped_storage()
                    if memory.data_ptr() in self.made and memory.data_ptr() not in self.numbers:
                        self.numbers[memory.data_ptr()] = tensor.new_empty(0).set_(memory)  # all of it

    def add(self, func: Any, args: Any, kwargs: Any, out: Any, held: list[Held]) -> None:
        for tensor in held:
            place = tensor.raw.untyped_storage().data_ptr()
            if place not in self.made:
                self.owners.setdefault(place, weakref.ref(tensor))
        places = {t.untyped_storage().data_ptr() for t in leaves(out) if isinstance(t, Tensor)}
        self.made |= places - set(self.owners)
        self.operations.append((func, args, kwargs, out))

    def replay(self) -> None:
        Tape.replays += 1
        assert all(owner() is not None for owner in self.owners.values()), "memory that was given back since"
        with torch._C._DisableTorchDispatch():  # all of it lies on the host
            for other in self.pools[self]:
                if other not in (self, self.before) and other.before is not self:
                    other.spoil()
            for func, args, kwargs, out in self.operations:
                again = self.seen.compute(func, args, kwargs)
                for old, new in zip(leaves(out), leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def spoil(self) -> None:
        """Its memory may belong to another one now."""
        for tensor in self.numbers.values():
            tensor.fill_(math.nan)


@contextlib.contextmanager
def graphs(seen: Pretended) -> Iterator[None]:
    """Inside the block, torch records what is given to the pretended device."""
    pools: dict[Any, list[Tape]] = {}

    @contextlib.contextmanager
    def on(stream: Any) -> Iterator[None]:
        before, seen.stream = seen.stream, stream
        yield
        seen.stream = before

    @contextlib.contextmanager
    def forked(devices: Any) -> Iterator[None]:
        """Of the generators that this puts back, the device's is ours."""
        noise, host = seen.noise, torch.get_rng_state()
        yield
        seen.noise = noise
        torch.set_rng_state(host)

    def new_stream() -> Any:
        return SimpleNamespace(wait_stream=lambda other: None)

    STREAMS.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, made in {
            "CUDAGraph": lambda: Tape(seen, pools),
            "graph_pool_handle": list,
            "Stream": new_stream,
            "current_stream": new_stream,
            "set_stream": lambda other: None,
            "stream": on,
        }.items():
            patch.setattr(torch.cuda, name, made)
        patch.setattr(torch.random, "fork_rng", forked)
        patch.setattr("cycle.models.graphs.place", lambda tensor: tensor.raw.data_ptr())
        yield
