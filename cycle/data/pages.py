"""Memory-mapped files whose pages are given back: what has been read once does not stay in memory until the end.

The kernel keeps every page that was touched, and counts it as ours, as long as it has memory to spare; of a pool of millions that is all.
A page that is wanted again comes back from the file, or from the kernel's cache of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

import pyarrow as pa

TOGETHER = 1 << 16  # values that are read before the pages behind them are given back
ALONE = 128  # as many values a single one counts as: the kernel maps 64 kB around it
_DONTNEED = 4  # MADV_DONTNEED of Linux; of a mapped file it loses nothing


class Pages:
    """The mappings of some files, and how much was read of them."""

    def __init__(self) -> None:
        self._mapped: list[pa.Buffer] = []
        self._read = 0

    def open(self, file: Path) -> pa.NativeFile:
        """Maps a file."""
        self._mapped.append(pa.memory_map(str(file)).read_buffer())
        return pa.BufferReader(self._mapped[-1])

    def read(self, values: int) -> None:
        """Says that values were read, and gives the pages back now and then."""
        self._read += values
        if self._read >= TOGETHER:
            self._read = 0
            self.give_back()

    def give_back(self) -> None:
        """Drops all pages; only on Linux, elsewhere they stay."""
        if not sys.platform.startswith("linux"):
            return
        with contextlib.suppress(AttributeError, OSError):  # a C library without madvise
            madvise = ctypes.CDLL(None).madvise
            for buffer in self._mapped:
                madvise(ctypes.c_void_p(buffer.address), ctypes.c_size_t(buffer.size), _DONTNEED)
