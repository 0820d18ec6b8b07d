"""What some work would take at the speed that a device reaches in one large product, and in one large copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from cycle.device import fast_bf16, set_products


def timed[T](work: Callable[[], T], device: str, repeat: int = 1) -> tuple[float, T]:
    """Seconds of the quickest of some runs, and the last result; the device has finished when the clock stops."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        value = work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, value


@dataclass(frozen=True)
class Work:
    """What some work asks of a device.

    Attributes:
        operations: floating-point operations of products and convolutions; an addition and a multiplication are two.
        bytes: that operations read and write, views left out, each operation by itself as PyTorch runs them.
    """

    operations: float
    bytes: float


@dataclass(frozen=True)
class Ceiling:
    """What a device reaches in a second: in one large product of matrices, and in one large copy."""

    operations: float
    bytes: float

    def row(self, work: Work, times: float = 1.0) -> dict[str, float]:
        """Seconds of so many times the work.

        Returns:
            `floor`, of its products alone, which nothing beats; `traffic`, if each operation fetched everything from memory and brought it
            back, which caches and fused operations do beat.
        """
        return {"floor": times * work.operations / self.operations, "traffic": times * work.bytes / self.bytes}


class Traffic(TorchDispatchMode):
    """Counts the bytes of every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        alias = [result.alias_info for result in func._schema.returns]
        if not any(known is not None and not known.is_write for known in alias):  # a view moves nothing
            self.bytes += sum(t.numel() * t.element_size() for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor))
        return out


def counted(work: Callable[[], object]) -> Work:
    """Runs some work once and counts."""
    with FlopCounterMode(display=False) as operations, Traffic() as traffic:
        work()
    return Work(float(operations.get_total_flops()), float(traffic.bytes))


def ceiling(device: str, precision: str) -> Ceiling:
    """Measures a device in the precision of the configuration: 32 (on a GPU TF32), bf16, or auto."""
    set_products(device, exact=False)
    short = precision == "bf16" or (precision == "auto" and fast_bf16(device))
    dtype = torch.bfloat16 if short else torch.float32
    size, length = (8192, 1 << 28) if device == "cuda" else (1024, 1 << 24)
    repeat = 200 if device == "cuda" else 5  # an idle GPU takes a while to get up to speed
    a, b = (torch.randn((size, size), dtype=dtype, device=device) for _ in range(2))  # with constants it is faster: less is switched
    source, target = (torch.randn(length, device=device) for _ in range(2))
    product, copy = (timed(work, device, repeat)[0] for work in (lambda: a @ b, lambda: target.copy_(source)))
    return Ceiling(2 * size**3 / product, 2 * source.numel() * source.element_size() / copy)


def kernel_seconds(work: Callable[[], object]) -> float:
    """How long a GPU's kernels run during some work; the work itself takes longer than usual, since each of them is noted."""
    from torch.profiler import DeviceType, ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        timed(work, "cuda")
    kernels = ((e.time_range.start, e.time_range.end) for e in seen.events() if e.device_type == DeviceType.CUDA)
    return covered(kernels) / 1e6


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans (start, end), which may overlap."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
