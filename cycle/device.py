"""Which device, and how precisely it computes. Heavy imports wait: a finished run is looked through without torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cycle.errors import UserError
from cycle.log import log

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cycle.fabric import Fabric

DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, also in a container; Windows' for Linux; AMD's
PRECISIONS = {"exact": "32-true", "32": "32-true", "bf16": "bf16-mixed"}


def resolve(wanted: str) -> str:
    """cpu or cuda for `auto`, which asks the driver's files before it asks torch.

    Raises:
        UserError: a GPU was asked for and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    driver, chosen = any(Path(file).exists() for file in DRIVERS), os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted == "auto" and not driver and not chosen:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UserError("no GPU was found", "--device cuda", "use --device cpu, or mend the driver")
    if chosen is None:  # else somebody may have hidden it
        log.warning("a GPU's driver is here, but torch %s cannot use it: going on with the CPU", torch.__version__)
    return "cpu"


def send(values: object, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers of the host as a tensor on the device; the host does not wait for it, as it does in `torch.tensor(values, device=device)`."""
    import torch

    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


type Later[T] = Callable[[], T]  # waits for the device, and returns what it has made meanwhile


def fetch(*tensors: Tensor) -> Later[Sequence[Tensor]]:
    """Begins to bring tensors to the host. What comes back waits for them, and not for what the device is given after this call."""
    import torch

    if tensors[0].device.type != "cuda":
        there = [t.cpu() for t in tensors]
        return lambda: there
    coming = [t.to("cpu", non_blocking=True) for t in tensors]  # to pinned memory, which a GPU reaches by itself
    device = tensors[0].device
    arrived = torch.cuda.current_stream(device).record_event()

    def wait() -> Sequence[Tensor]:
        with torch.cuda.device(device):  # a thread of its own begins at the first GPU
            arrived.synchronize()
        return coming

    return wait


def by_first(fabric: Fabric, work: Callable[[], object]) -> None:
    """Lets the first rank do what must be done once; the others wait for it."""
    if fabric.is_global_zero:
        work()
    fabric.barrier()


def fast_bf16(device: str) -> bool:
    """Whether products of bf16 are computed by the hardware: on GPUs, and on CPUs with AVX512-BF16 or AMX (there twice as fast as fp32)."""
    import torch

    return device == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def ranks() -> tuple[int, int]:
    """Processes in all and on this machine, as torchrun has started them; (1, 1) without it."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process among them, 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def set_products(device: str, exact: bool) -> None:
    """How a GPU multiplies in single precision, from now on: exactly, or rounded to TF32, which is several times as fast."""
    import torch

    if device == "cuda":
        torch.set_float32_matmul_precision("highest" if exact else "high")
        torch.backends.cudnn.allow_tf32 = not exact


def fabric(device: str, precision: str = "auto") -> Fabric:
    """A Fabric on one device, or under torchrun on one device a rank.

    Args:
        precision: exact; 32, where a GPU rounds what it multiplies; bf16, which is autocast: weights, losses and optimizers stay in single
            precision; auto is bf16 where that is fast.
    """
    import torch

    from cycle.fabric import DDPStrategy, Fabric

    logging.getLogger(Fabric.__module__.removesuffix(".fabric")).setLevel(logging.WARNING)  # it names the precision each time

    if precision == "auto":
        precision = "bf16" if fast_bf16(device) else "32"
    set_products(device, exact=precision == "exact")
    if device == "cpu" and os.environ.get("CYCLE_THREADS"):
        torch.set_num_threads(int(os.environ["CYCLE_THREADS"]))
    world, local = ranks()
    # Ranks wait for the first one where it works alone (decoding, say), however long that takes.
    strategy = DDPStrategy(timeout=timedelta(days=7)) if world > 1 else "auto"
    made = Fabric(
        accelerator=device,
        strategy=strategy,
        devices=local,
        num_nodes=world // local,
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    if world > 1:
        made.launch()
    return made
