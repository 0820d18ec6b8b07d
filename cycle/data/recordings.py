"""Files below a folder, whatever links it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cycle.data.audio import EXTENSIONS


def walk(root: Path) -> Iterator[Path]:
    """Every file below a folder, sorted folder by folder. Links are followed, each folder is visited once; hidden names are passed over."""
    visited: set[tuple[int, int]] = set()
    for folder, inside, names in os.walk(root, followlinks=True):
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in visited:  # a link back up, or a second one to the same place
            inside.clear()
            continue
        visited.add((about.st_dev, about.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def find(root: Path) -> Iterator[Path]:
    """The recordings below a folder, by their extension."""
    return (path for path in walk(root) if path.suffix.lower() in EXTENSIONS)
