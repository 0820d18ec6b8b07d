"""Memory-mapped files whose pages are given back: what has been read once does not stay in memory until the end.

The kernel keeps every page that was touched, and counts it as ours, as long as it has memory to spare; of a pool of millions that is all.
A page that is wanted again comes back from the file, or from the kernel's cache of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

TOGETHER = 1 << 16  # values that are read before the pages behind them are given back
ALONE = 512  # as many values a single one counts as: the kernel maps 64 kB around it
_DONTNEED = 4  # MADV_DONTNEED of Linux; of a mapped file it loses nothing


class Pages:
    """The mappings of some files, and how much was read of which."""

    def __init__(self) -> None:
        self._mapped: list[pa.Buffer] = []
        self._ends: list[int] = []  # of each file's rows, counted through all files
        self._touched: set[int] = set()
        self._read = 0

    def open(self, file: Path) -> pa.Table:
        """The rows of an Arrow file, mapped."""
        self._mapped.append(pa.memory_map(str(file)).read_buffer())
        rows = pa.ipc.open_file(pa.BufferReader(self._mapped[-1])).read_all()
        self._ends.append(len(rows) + (self._ends[-1] if self._ends else 0))
        return rows

    def read_row(self, row: int) -> None:
        """Says that a value was read, of a row counted through all files."""
        self._touched.add(bisect_right(self._ends, row))
        self._count(ALONE)

    def read_rows(self, rows: Sequence[int]) -> None:
        """Says that single values were read, of rows counted through all files."""
        self._touched.update([bisect_right(self._ends, row) for row in rows])
        self._count(ALONE * len(rows))

    def read_stretch(self, first: int, last: int) -> None:
        """Says that all values of some neighbouring rows were read, counted through all files."""
        self._touched.update(range(bisect_right(self._ends, first), bisect_right(self._ends, last) + 1))
        self._count(ALONE + last - first)

    def read(self, values: int) -> None:
        """Says that many values were read, of any file."""
        self._touched.update(range(len(self._mapped)))
        if self._count(values):
            trim()  # large arrays come and go here; among single values it would take from training what that wants again at once

    def _count(self, values: int) -> bool:
        self._read += values
        full = self._read >= TOGETHER
        if full:
            self._read = 0
            self.give_back()
        return full

    def give_back(self) -> None:
        """Drops the pages of what was read; only on Linux, elsewhere they stay."""
        touched, self._touched = self._touched, set()  # threads go on reading
        if not sys.platform.startswith("linux"):
            return
        with contextlib.suppress(AttributeError, OSError):  # a C library without madvise
            madvise = ctypes.CDLL(None).madvise
            for file in touched.intersection(range(len(self._mapped))):
                buffer = self._mapped[file]
                madvise(ctypes.c_void_p(buffer.address), ctypes.c_size_t(buffer.size), _DONTNEED)


def trim() -> None:
    """Gives back what glibc's heap keeps of arrays that were freed; with another C library nothing happens."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
