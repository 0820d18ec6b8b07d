import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycle.data import kaldi
from cycle.data.types import Utterance
from cycle.errors import UserError

PAIR = Utterance("b-1", "b", Path('/data/it\'s "here" now/ a.wav'), "我 喝茶", 1.25)
OTHER = Utterance("a-2", "a", Path("/data/x.wav"), "你好", 0.5)
TOKENS = {"b-1": "uo3 h e1 ch a2", "a-2": "n i3 h ao3"}


def test_paired_pool_comes_back_sorted_with_spaces_and_quotes(tmp_path):
    kaldi.write(tmp_path / "d", [PAIR, OTHER], TOKENS)
    assert kaldi.read(tmp_path / "d") == [OTHER, PAIR]
    assert kaldi.read_tokens(tmp_path / "d") == TOKENS
    assert (tmp_path / "d" / "spk2utt").read_text() == "a a-2\nb b-1\n"
    assert (tmp_path / "d" / "utt2dur").read_text() == "a-2 0.500000\nb-1 1.250000\n"


def test_speech_pool_has_no_text_and_text_pool_no_speech(tmp_path):
    kaldi.write(tmp_path / "speech", [dataclasses.replace(u, text=None) for u in (PAIR, OTHER)], {})
    kaldi.write(tmp_path / "text", [Utterance("t", "-", None, "你好")], {"t": "n i3"})
    assert {p.name for p in (tmp_path / "speech").iterdir()} == {"wav.scp", "utt2spk", "spk2utt", "utt2dur"}
    assert {p.name for p in (tmp_path / "text").iterdir()} == {"text", "tokens"}
    assert [u.text for u in kaldi.read(tmp_path / "speech")] == [None, None]
    assert kaldi.read(tmp_path / "text") == [Utterance("t", "-", None, "你好")]


def test_writing_replaces_the_old_directory_whole(tmp_path):
    kaldi.write(tmp_path / "d", [PAIR], {"b-1": "uo3"})
    kaldi.write(tmp_path / "d", [Utterance("t", "-", None, "你好")], {"t": "n i3"})
    assert not (tmp_path / "d" / "wav.scp").exists()
    with pytest.raises(ValueError):
        kaldi.write(tmp_path / "d", [PAIR, PAIR], TOKENS)
    assert (tmp_path / "d" / "text").read_text() == "t 你好\n"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("utts", "tokens"),
    [
        ([PAIR, dataclasses.replace(OTHER, wav=None)], TOKENS),
        ([PAIR, dataclasses.replace(OTHER, text=None)], {"b-1": "uo3"}),
        ([PAIR, OTHER], {"b-1": "uo3"}),
        ([dataclasses.replace(PAIR, text=None)], {"b-1": "uo3"}),
        ([dataclasses.replace(PAIR, wav=Path("touch x |"), text=None)], {}),
        ([dataclasses.replace(PAIR, utt_id="b 1")], {"b 1": "uo3"}),
        ([dataclasses.replace(PAIR, text="one\ntwo")], {"b-1": "uo3"}),
        ([dataclasses.replace(PAIR, text=" ")], {"b-1": "uo3"}),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path, utts, tokens):
    with pytest.raises(ValueError):
        kaldi.write(tmp_path / "d", utts, tokens)
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_refused_and_never_run(tmp_path):
    kaldi.write(tmp_path / "d", [dataclasses.replace(OTHER, text=None)], {})
    (tmp_path / "d" / "wav.scp").write_text(f"a-2 touch {tmp_path}/ran |\n")
    with pytest.raises(UserError, match=r"wav\.scp:1: a-2's path is a pipe"):
        kaldi.read(tmp_path / "d")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", b"a-2 x\na-2 y\n", r"text:2: a-2 stands on line 1"),
        ("text", b"b-1 x\na-2 y\n", r"text:2: a-2 is out of order"),
        ("text", b"a-2 x\nb-1 \xff\n", r"text:2: is not UTF-8"),
        ("text", b"a-2 x\nb-1\n", r"text:2: b-1 has no value"),
        ("text", b"a-2 x\n\nb-1 y\n", r"text:2: the id is empty"),
        ("text", b"a-2 x\r\nb-1 y\r\n", r"text:1: ends in a carriage return"),
        ("text", b"a-2 x\n", r"b-1 is not in text \(1 such\)"),
        ("text", b"a-2 x\nb-1 y\nc z\n", r"text:3: c is not in wav.scp"),
        ("utt2dur", b"a-2 x\nb-1 1\n", r"utt2dur:1: 'x' is no number"),
        ("utt2spk", b"a-2 a\n", r"b-1 is not in utt2spk"),
        ("wav.scp", b"a/2 x\nb-1 y\n", r"wav.scp:1: the id holds a path separator"),
    ],
)
def test_faults_name_file_and_line(tmp_path, name, content, message):
    kaldi.write(tmp_path / "d", [PAIR, OTHER], TOKENS)
    (tmp_path / "d" / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        kaldi.read(tmp_path / "d")


def test_no_data_directory(tmp_path):
    with pytest.raises(UserError, match="no data directory"):
        kaldi.read(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        kaldi.read_tokens(tmp_path)


IDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1, max_size=8).filter(
    lambda name: kaldi.bad_id(name) is None
)
PATHS = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
    .map(lambda name: f"/{name}")
    .filter(lambda path: kaldi.bad_path(path) is None and str(Path(path)) == path)
)
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(IDS, st.tuples(IDS, PATHS, TEXTS, st.integers(1, 10**6)), min_size=1, max_size=6))
def test_anything_that_is_written_is_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round") / "d"
    utts = [Utterance(key, spk, Path(path), text, n / 64) for key, (spk, path, text, n) in rows.items()]
    kaldi.write(folder, utts, {u.utt_id: "a1" for u in utts})
    assert kaldi.read(folder) == sorted(utts, key=lambda u: u.utt_id.encode())
