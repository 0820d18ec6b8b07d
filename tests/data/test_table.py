"""Columns and views: the same values whatever the number of files, read only where looked at."""

import numpy as np
import pyarrow as pa
import pytest

from cycle.data import table
from cycle.data.table import AT_ONCE, SEVERAL, Column, Ragged, Table, write

SCHEMA = pa.schema([("utt", pa.string()), ("n", pa.int32()), ("many", pa.list_(pa.float64()))])


def rows(low, high):
    return [{"utt": f"u{i}", "n": i, "many": [float(i), None], "more": 1} for i in range(low, high)]


@pytest.fixture
def three(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "TOGETHER", 2)
    for name, low, high in (("a", 0, 3), ("b", 3, 3), ("c", 3, 8)):
        table.write(tmp_path / f"{name}.arrow", rows(low, high), SCHEMA)
    return Table(sorted(tmp_path.glob("*.arrow")), SCHEMA)


def test_files_read_as_one(three):
    assert len(three) == 8 and list(three.column("utt")) == [f"u{i}" for i in range(8)]
    assert three.numbers("n").tolist() == list(range(8))
    assert three.column("many")[7] == [7.0, None]
    assert [row["n"] for row in three.rows()] == list(range(8))


def test_views_of_views(three):
    view = three.subset([5, 1, 6]).subset(np.array([2, 0]))
    assert list(view.column("utt")) == ["u6", "u5"] and view.numbers("n").tolist() == [6, 5]
    column = three.column("utt")[[7, 2, 3]]
    assert list(column[np.array([1, 2])]) == ["u2", "u3"] and list(column[:1]) == ["u7"] and column[-1] == "u3"
    assert [row["utt"] for row in view.rows()] == ["u6", "u5"]


def test_some_values_at_once(three):
    column = three.column("utt")[[5, 1, 3, 0]]
    assert column.some(np.array([3, 0, 0])) == [column[3], column[0], column[0]] and column.some(np.zeros(0, int)) == []


def test_some_values_near_each_other_or_far_apart(tmp_path, monkeypatch):
    """Near ones are read as one stretch, across files; what comes is the same, lists and missing values included."""
    schema = pa.schema([("utt", pa.string()), ("tts", pa.list_(pa.float64()))])
    for n in range(3):
        write(tmp_path / f"{n}.arrow", ({"utt": f"u{n}-{k}", "tts": [k / 2, None][: k % 3]} for k in range(100)), schema)
    three = Table(sorted(tmp_path.iterdir()), schema)
    monkeypatch.setattr(table, "DENSE", 2)
    near, far, few = np.tile([205, 95, 100, 95], 20), np.tile([299, 0], SEVERAL // 2), np.array([105, 95])
    assert np.ptp(near) < 2 * len(near) and np.ptp(far) > 2 * len(far) and len(few) < SEVERAL <= len(far)
    for keys in (near, far, few):
        names = [f"u{key // 100}-{key % 100}" for key in keys]
        assert three.column("utt").some(keys) == list(three.subset(keys).column("utt")) == names
        assert three.column("tts").some(keys) == [[key % 100 / 2, None][: key % 100 % 3] for key in keys]


def test_a_long_column_is_walked_through():
    numbers = Table.of(rows(0, 2 * AT_ONCE + 3), SCHEMA).column("n")
    assert list(numbers) == list(range(2 * AT_ONCE + 3)) and list(numbers[[4, 2]]) == [4, 2]


def test_no_file_is_an_empty_table():
    empty = Table([], SCHEMA)
    assert len(empty) == 0 and empty.numbers("n").tolist() == [] and list(empty.column("utt")) == []


def test_ragged():
    arrays = [np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([4])]
    ragged = Ragged(arrays)
    ragged.extend(Ragged([np.array([5, 6])]))
    assert [r.tolist() for r in ragged] == [[1, 2, 3], [], [4], [5, 6]] and ragged.sizes.tolist() == [3, 0, 1, 2]
    view = ragged[np.array([3, 0])]
    assert [r.tolist() for r in view] == [[5, 6], [1, 2, 3]] and view[-1].dtype == np.int64


def test_columns_picked_together(three):
    """Views of the same rows share their places, those of other rows keep their own; lists and what is missing come along."""
    turned = three.subset(range(7, -1, -1))
    keep = np.array([4, 0, 4])
    utts, many, other, words, missing = Column.picked(
        [three.column("utt"), three.column("many"), turned.column("utt"), list("abcdefgh"), None], keep
    )
    assert list(utts) == ["u4", "u0", "u4"] and list(many) == [[4.0, None], [0.0, None], [4.0, None]] and list(other) == ["u3", "u7", "u3"]
    assert words == ["e", "a", "e"] and missing is None
    assert utts._index is many._index and utts._index is not other._index
    assert list(Column.picked([utts], np.array([1]))[0]) == ["u0"]
