"""What was read from a mapped file does not stay in memory."""

import sys

import numpy as np
import pyarrow as pa
import pytest

from cycle.data import table
from cycle.data.pages import ALONE, TOGETHER
from cycle.data.table import SEVERAL, Table

SCHEMA = pa.schema([("utt", pa.string()), ("text", pa.string())])


def resident(path) -> int:
    """Bytes of a file that this process has in memory."""
    total, mine = 0, False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            if "-" in line.split(" ", 1)[0]:
                mine = line.rstrip().endswith(str(path))
            elif mine and line.startswith("Rss:"):
                total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are given back on Linux only")
def test_pages_are_given_back_and_come_back(tmp_path):
    path, count = tmp_path / "some.arrow", 2 * TOGETHER
    table.write(path, ({"utt": f"u{n:06d}", "text": "a b c d e f g h " * 4} for n in range(count)), SCHEMA)
    size = path.stat().st_size
    some = Table([path], SCHEMA)
    texts = some.column("text")
    seen = []
    for n in range(count):
        texts[n]
        if n % 16384 == 16383:
            seen.append(resident(path))
    assert max(seen) < 0.75 * size  # half of the table, and what the kernel reads ahead
    assert seen[-1] < 0.1 * size
    assert texts[5].startswith("a b c") and some.column("utt")[count - 1] == f"u{count - 1:06d}"
    for _ in some.rows():
        pass
    assert resident(path) < 0.1 * size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are given back on Linux only")
@pytest.mark.parametrize("row", [0, 1999, 2000, 3999, 4000, 5999])
def test_of_many_files_those_are_dropped_that_were_read(tmp_path, row):
    paths = [tmp_path / f"{n}.arrow" for n in range(3)]
    for path in paths:
        table.write(path, ({"utt": "u", "text": "a b c d e f g h " * 4} for _ in range(2000)), SCHEMA)
    some = Table(paths, SCHEMA)
    texts, read = some.column("text"), paths[row // 2000]
    some._pages.read(TOGETHER)
    untouched = [resident(path) for path in paths]
    for _ in range(TOGETHER // ALONE - 1):
        texts[row]
    assert resident(read) > untouched[paths.index(read)]
    texts[row]
    assert [resident(path) for path in paths] == untouched
    for _ in range(TOGETHER // ALONE // 2):
        texts.some(np.array([0, 5999]))  # far apart
    assert [resident(path) for path in paths] == untouched
    for _ in range(TOGETHER // ALONE - 1):
        texts.some(np.full(SEVERAL, row))
    assert resident(read) > untouched[paths.index(read)]
    texts.some(np.full(SEVERAL, row))
    assert [resident(path) for path in paths] == untouched
