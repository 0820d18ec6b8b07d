"""Where a corpus lies: users give its folder, the one around it, or the one inside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cycle.errors import UserError


def home(root: Path, places: Iterable[str], holds: str) -> Path:
    """The first of `places` below `root`, or `root` itself, in which the path or pattern `holds` exists.

    Raises:
        UserError: none of them does.
    """
    for place in [root, *(root / name for name in places)]:
        if next(place.glob(holds), None):
            return place
    raise UserError(f"holds no {holds}", root, "give the corpus as its upstream ships it, unpacked: --data DIR")


def folder(path: Path, remedy: str) -> Path:
    """The folder itself.

    Raises:
        UserError: it is not there.
    """
    if not path.is_dir():
        raise UserError("no such folder", path, remedy)
    return path


def existing(places: Iterable[Path], names: Iterable[str]) -> list[Path]:
    """What there is of `names`, each in the first of the places that has it."""
    found = ([place / name for place in places if (place / name).exists()] for name in names)
    return [paths[0] for paths in found if paths]
