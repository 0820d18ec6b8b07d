"""Hundreds of data directories that somebody has damaged: `check` and `prepare` say what is wrong or go on, and touch nothing else."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cycle import check, prepare
from cycle.data import folder, kaldi, transcripts
from cycle.data.kaldi import Fault
from cycle.data.transcripts import Line
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError
from tests.tiny_corpus import SENTENCES, experiment, tone

EXAMPLES = 500 if "CYCLE_TEST_ALL" in os.environ else 100
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=30),  # a hang, not a busy machine
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes: the failing damage is short as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# What stands in files that people have handled; {ran} is a file that must never appear.
PIECES = st.binary(max_size=12) | st.sampled_from([
    b"\xef\xbb\xbf", b"\r", b"\r\n", b"\t", b" ", b"\n\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85",
    b"../", b"/", b"..", b"|", b"touch {ran} |", b"| touch {ran}", b"$(touch {ran})", b"u1 ", b"u1 touch {ran} |\n", "好".encode(),
    b"<blank>", b"nan", b"-1", b"1e999", b"a" * 5000, b"path\ttext\n", b'{"audio": "u1", "text": "x"}\n', b"{" * 3000, b"%s{0}",
    b"\xe2\x80\xae", "ﬁ½Ⅷ".encode(),
])  # fmt: skip
FILES = ("wav.scp", "text", "utt2spk", "spk2utt", "utt2dur", "tokens")
Change = Callable[[Path], None]


def rewrite(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Change:
    def apply(root: Path) -> None:
        path = root / name
        if path.is_file():
            path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return apply


def insert(piece: bytes, where: float) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        data = b"".join(lines)
        at = int(where * len(data))
        return [data[:at], piece, data[at:]]

    return change


def without(where: float, much: int) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        data = b"".join(lines)
        at = int(where * len(data))
        return [data[:at], data[at + much :]]

    return change


def twice(number: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: lines + lines[number % len(lines) :][:1] if lines else lines


def replaced(name: str, by: str) -> Change:
    """A file becomes something that is no file."""

    def apply(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            return
        path.unlink(missing_ok=True)
        if by == "folder":
            path.mkdir()
        elif by != "nothing":
            path.symlink_to({"circle": path, "dangling": root / "gone", "root": root}[by])

    return apply


SOUNDS = tuple(f"u{n}.wav" for n in range(8))
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda name, piece, where: rewrite(name, insert(piece, where)), st.sampled_from(FILES), PIECES, st.floats(0, 1)),
    st.builds(lambda name, where, much: rewrite(name, without(where, much)), st.sampled_from(FILES), st.floats(0, 1), st.integers(1, 60)),
    st.builds(lambda name, number: rewrite(name, twice(number)), st.sampled_from(FILES), st.integers(0, 9)),
    st.builds(lambda name: rewrite(name, lambda lines: lines[::-1]), st.sampled_from(FILES)),
    st.builds(replaced, st.sampled_from(FILES + SOUNDS), st.sampled_from(["nothing", "folder", "circle", "dangling", "root"])),
    st.builds(lambda name, piece, where: rewrite(name, insert(piece, where)), st.sampled_from(SOUNDS), PIECES, st.floats(0, 1)),
    st.builds(lambda name, where: rewrite(name, without(where, 10**6)), st.sampled_from(SOUNDS), st.floats(0, 1)),
)
DAMAGE = st.lists(CHANGES, min_size=1, max_size=5)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A whole data directory; copies of it are damaged."""
    root = tmp_path_factory.mktemp("whole")
    utts = [Utterance(f"u{n}", "ab"[n % 2], tone(root / f"u{n}.wav", 0.6, 8000), SENTENCES[n], 0.6) for n in range(8)]
    kaldi.write(root / "d", utts, {u.utt_id: "h ao3" for u in utts})
    for path in (root / "d").iterdir():
        path.rename(root / path.name)
    (root / "d").rmdir()
    return root


def damaged(sound: Path, box: Path, damage: list[Change]) -> Path:
    """A copy of the directory with the damage done."""
    shutil.rmtree(box, ignore_errors=True)
    shutil.copytree(sound, box / "data")
    scp = box / "data" / "wav.scp"
    scp.write_text(scp.read_text().replace(str(sound), str(box / "data")))
    for change in damage:
        change(box / "data")
    for name in FILES:
        path = box / "data" / name
        if path.is_file() and b"{ran}" in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(b"{ran}", str(box / "ran").encode()))
    return box / "data"


def state(box: Path) -> dict[str, tuple[int, int]]:
    """Every file but those in `out`, with size and time."""
    found = {}
    for path, _, names in os.walk(box):
        for name in names:
            file = Path(path, name)
            if (box / "out") not in file.parents:
                found[str(file)] = (file.lstat().st_size, file.lstat().st_mtime_ns)
    return found


@FUZZ
@given(damage=DAMAGE)
def test_check_tells_and_touches_nothing(sound, tmp_path, damage):
    data = damaged(sound, tmp_path / "box", damage)
    before = state(tmp_path)
    found = check.faults(data)
    assert all(isinstance(fault, Fault) and "\n" not in str(fault) and str(fault).startswith(str(tmp_path)) for fault in found)
    assert state(tmp_path) == before


OPTIONS = {"text": None, "speakers": "transcript", "split": "text"}
EXPERIMENT = experiment(Path(), None, "mini", OPTIONS, paired=1, speech=1, text=1, dev=1, test=1)


class FromFolder:
    """A recipe as `new-corpus` writes it."""

    SPLITS = ("all",)

    @staticmethod
    def utterances(root, split, options):
        return folder.utterances(root, split, options)


@FUZZ
@given(damage=DAMAGE)
def test_prepare_refuses_or_makes_valid_pools(sound, tmp_path, monkeypatch, damage):
    box = tmp_path / "box"
    data = damaged(sound, box, damage)
    monkeypatch.setattr(prepare, "recipe", lambda corpus: FromFolder)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(logging.getLogger("cycle"), "disabled", True)
    exp = replace(EXPERIMENT, path=box / "out", data_root=data)
    before = state(box)
    try:
        prepare.main(exp)
        refused = ""
    except UserError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused and not any(exp.data(name).exists() for name in POOLS)
    else:
        assert check.faults(exp.path) == []
        assert {u.utt_id for name in POOLS for u in kaldi.read(exp.data(name))} <= {f"u{n}" for n in range(8)} | names(data)
    assert state(box) == before


def names(data: Path) -> set[str]:
    return {row.key for row in kaldi.parse_lines(data / "wav.scp")[0]} if (data / "wav.scp").is_file() else set()


TABLES = [
    b"path\ttext\nu1\tone two\nu2\tthree\n",
    b'{"audio": "u1", "text": "one"}\n' * 3,
    b"u1|one|one\nu2|two|two\n",
    b"one (u1)\ntwo (u2)\n",
]
INSERTS = st.lists(st.tuples(PIECES, st.floats(0, 1)), min_size=1, max_size=4)


@FUZZ
@given(table=st.sampled_from(TABLES), changes=INSERTS, key=st.text(max_size=30))
def test_any_transcript_is_read_or_refused(tmp_path, table, changes, key):
    (tmp_path / "rec").mkdir(exist_ok=True)
    (tmp_path / "rec" / "u1.wav").touch()
    for piece, where in changes:
        table = b"".join(insert(piece, where)([table]))
    (tmp_path / "t").write_bytes(table + key.encode("utf-8", "surrogatepass"))
    try:
        rows = list(transcripts.read(tmp_path / "t"))
        assert all(isinstance(row, Line | Fault) for row in rows)
        utts = [utt for _, utt in folder.read(tmp_path / "rec", tmp_path / "t") if isinstance(utt, Utterance)]
    except UserError as error:
        utts = []
        told = str(error)
    else:
        told = ""
    assert "\n" not in told
    assert {utt.wav for utt in utts} <= {None, tmp_path / "rec" / "u1.wav"}
    assert all(kaldi.bad_id(utt.utt_id) is None for utt in utts)
