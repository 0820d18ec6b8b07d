"""Lightning's Fabric, from the package of that name. The whole of Lightning holds the same one: where only that is installed, it serves,
but imports its trainer and half a dozen libraries beside it."""

from __future__ import annotations

try:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
except ModuleNotFoundError:
    from lightning.fabric import Fabric  # type: ignore[import-not-found, no-redef]
    from lightning.fabric.strategies.ddp import DDPStrategy  # type: ignore[import-not-found, no-redef]

__all__ = ["DDPStrategy", "Fabric"]
