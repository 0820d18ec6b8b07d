"""Lightning Fabric: device and precision."""

from __future__ import annotations

import os

import torch
from lightning.fabric import Fabric

from cycle.errors import UserError


def fabric(device: str) -> Fabric:
    """A Fabric on one device: bf16 autocast on a GPU, single precision on a CPU.

    Raises:
        UserError: a GPU was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no GPU was found", "--device cuda", "use --device cpu, or mend the driver")
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    elif os.environ.get("CYCLE_THREADS"):
        torch.set_num_threads(int(os.environ["CYCLE_THREADS"]))
    return Fabric(accelerator="cuda" if device == "cuda" else "cpu", devices=1, precision="bf16-mixed" if device == "cuda" else "32-true")


def pick_device(wanted: str) -> str:
    """`auto` is cuda where there is a GPU; does not import torch for `cpu`."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
