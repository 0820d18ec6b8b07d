"""How much of a corpus that is made on the spot is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cycle.errors import UserError


def told(pools: Mapping[str, int | None], names: Iterable[str]) -> dict[str, int]:
    """The sizes of some pools.

    Raises:
        UserError: one of them is everything that there is, and there is as much as one makes.
    """
    sizes = {}
    for name in names:
        size = pools[name]
        if size is None:
            raise UserError("this corpus is made on the spot, as much as one wants", f"pools.{name}", "write a number")
        sizes[name] = size
    return sizes
