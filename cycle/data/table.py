"""Columns on disk: Arrow files, memory-mapped. A pool costs the memory of what is looked at, not of what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cycle.data.pages import ALONE, TOGETHER, Pages
from cycle.files import atomic_write

Index = NDArray[np.int64]
Places = NDArray[np.int32]  # of rows: half the memory, and two billion are enough
MONITORED = 20_000  # utterances
AT_ONCE = 1024  # values that are made objects together
APART = TOGETHER // ALONE  # values that are read one by one before their pages are given back
SEVERAL, DENSE = 64, 64  # as many values, or more, are read with the whole stretch that they lie in, if of so many rows one is wanted


def write(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as one file; other keys than the schema's are left out."""
    with atomic_write(path, "wb") as handle, pa.ipc.new_file(handle, schema) as file:
        for some in batched(rows, TOGETHER):
            file.write_table(pa.Table.from_pylist(list(some), schema))


def sample(size: int, most: int = MONITORED) -> Index:
    """Places of at most `most` items, evenly spread: enough for a monitor, however large the pool."""
    return np.unique(np.linspace(0, max(0, size - 1), min(size, most)).round().astype(np.int64))


class Column[T](Sequence[T]):
    """One column of a table, or a view of it; a value becomes a Python object only when it is asked for."""

    def __init__(self, values: pa.ChunkedArray, index: Places, pages: Pages):
        self._values, self._index, self._pages = values, index, pages

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, key: int) -> T: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | Index) -> Column[T]: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            row = int(self._index[key])
            value = self._values[row].as_py()
            self._pages.read_row(row)
            return value
        return Column(self._values, self._index[key], self._pages)

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), AT_ONCE):
            yield from self.some(np.arange(start, min(start + AT_ONCE, len(self))))

    def some(self, keys: Index) -> list[T]:
        """Several values, which cost less together."""
        rows = self._index[keys]
        if len(rows) < SEVERAL or (last := int(rows.max())) - (first := int(rows.min())) >= DENSE * len(rows):
            return [value for some in batched(rows.tolist(), APART) for value in self._one_by_one(some)]
        stretch = self._values.slice(first, last - first + 1).combine_chunks()
        found: list[T] = stretch.take(pa.array(rows - first)).to_pylist()
        self._pages.read_stretch(first, last)
        return found

    def _one_by_one(self, rows: Sequence[int]) -> list[T]:
        found = [self._values[row].as_py() for row in rows]
        self._pages.read_rows(rows)
        return found

    @staticmethod
    def picked(columns: Iterable[Any], keep: Index) -> list[Any]:
        """Some rows of several columns, which may also be lists, or missing (None); views that shared their places go on sharing them."""
        taken: dict[int, Places] = {}
        out: list[Any] = []
        for column in columns:
            if isinstance(column, Column):
                known = id(column._index)
                if known not in taken:
                    taken[known] = column._index[keep]
                out.append(Column(column._values, taken[known], column._pages))
            else:
                out.append([column[i] for i in keep] if isinstance(column, list) else None if column is None else column[keep])
        return out


class Table:
    """Rows of one or several Arrow files, or a view of them.

    Args:
        files: read in this order, as if they were one.

    Attributes:
        sizes: rows of each file.
    """

    def __init__(self, files: Sequence[Path], schema: pa.Schema):
        self._pages = Pages()
        parts = [self._pages.open(file) for file in files]
        self.sizes = [len(part) for part in parts]
        self._table = pa.concat_tables(parts) if parts else schema.empty_table()
        self._index: Places = np.arange(len(self._table), dtype=np.int32)

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Table:
        """Rows in memory."""
        table = cls([], schema)
        table._table = pa.Table.from_pylist(list(rows), schema)
        table._index = np.arange(len(table._table), dtype=np.int32)
        return table

    def __len__(self) -> int:
        return len(self._index)

    def numbers(self, name: str) -> NDArray[Any]:
        """A column of numbers; missing ones are nan."""
        values = self._table[name].to_numpy()[self._index]
        self._pages.read(len(self._table))
        return values  # type: ignore[no-any-return]

    def column(self, name: str) -> Column[Any]:
        return Column(self._table[name], self._index, self._pages)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row after another."""
        for start in range(0, len(self), TOGETHER):
            some = self._table.take(self._index[start : start + TOGETHER]).to_pylist()
            self._pages.read(len(some))
            yield from some

    def subset(self, keep: Sequence[int] | Index) -> Table:
        """A view of some of the rows, in the given order."""
        view = Table.__new__(Table)
        view.sizes, view._table, view._pages = self.sizes, self._table, self._pages
        view._index = self._index[np.asarray(keep, dtype=np.int64)]
        return view


class Ragged(Sequence[NDArray[np.int64]]):
    """Many short arrays of whole numbers, end to end in one."""

    def __init__(self, rows: Iterable[NDArray[np.int64]] = ()):
        kept = [np.asarray(row, np.int32) for row in rows]
        self._values = np.concatenate(kept) if kept else np.zeros(0, np.int32)
        ends = np.cumsum([len(row) for row in kept], dtype=np.int64)
        self._ends, self._starts = ends, ends - np.array([len(row) for row in kept], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def sizes(self) -> Index:
        """(N,) length of each."""
        return self._ends - self._starts

    @overload
    def __getitem__(self, key: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | Index) -> Ragged: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return self._values[self._starts[key] : self._ends[key]].astype(np.int64)
        view = Ragged()
        view._values, view._starts, view._ends = self._values, self._starts[key], self._ends[key]
        return view

    def extend(self, other: Ragged) -> None:
        """Appends the arrays of another."""
        self._starts = np.concatenate([self._starts, other._starts + len(self._values)])
        self._ends = np.concatenate([self._ends, other._ends + len(self._values)])
        self._values = np.concatenate([self._values, other._values])
