"""Transcript files as people have them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cycle.data import transcripts
from cycle.data.kaldi import Fault
from cycle.data.transcripts import Line
from cycle.errors import UserError

WANTED = [Line("a-1", "Hello there"), Line("a-2", 'He said "no" | yes')]
SPOKEN = [Line("a-1", "Hello there", "anna"), Line("a-2", 'He said "no" | yes', "ben")]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "form", "expected"),
    [
        ('a-1 Hello there\na-2 He said "no" | yes\n', "kaldi", WANTED),
        ('a-1\tHello there\na-2\tHe said\t"no" | yes\n', "tab", WANTED),
        ('path\tsentence\na-1\tHello there\na-2\tHe said "no" | yes\n', "table", WANTED),
        ('client_id\tpath\tsentence\tup_votes\nanna\ta-1\tHello there\t2\nben\ta-2\tHe said "no" | yes\t0\n', "table", SPOKEN),
        ('\ufefffile,speaker,text\r\na-1,anna,Hello there\r\na-2,ben,"He said ""no"" | yes"\r\n', "table", SPOKEN),
        ("id|text\na-1|Hello there\n", "table", WANTED[:1]),
        ("a-1|HELLO THERE|Hello there\na-2|X|\n", "pipe", [WANTED[0], Line("a-2", "X")]),
        ("<s> HELLO THERE </s> (a-1)\nYES(2) <sil> NO (a-2)\n", "sphinx", [Line("a-1", "HELLO THERE"), Line("a-2", "YES NO")]),
        ("a-1\tanna\tHello there\na-2\tanna\tYes\n", "speaker-tab", [SPOKEN[0], Line("a-2", "Yes", "anna")]),
        ('a-1.wav,"Hello, there"\na-2.mp3,Yes, sir\n', "comma", [Line("a-1.wav", "Hello, there"), Line("a-2.mp3", "Yes, sir")]),
        ('path,text\na-1,"Hello\n\nthere"\na-2,5" nails\n', "table", [WANTED[0], Line("a-2", '5" nails')]),
        ("a-1\na-2 \n", "kaldi", [Line("a-1", ""), Line("a-2", "")]),
        ("File Name,Transcription\na-1,Hello there\n", "table", WANTED[:1]),
        (
            "path,text\na-1,hello\u2028world\na-2,one\x0btwo\x85three\n",
            "table",
            [Line("a-1", "hello world"), Line("a-2", "one two three")],
        ),
        ("", "kaldi", []),
    ],
)
def test_forms_are_told_apart_and_read(tmp_path, content, form, expected):
    path = written(tmp_path / "t", content)
    assert transcripts.form_of(path) == form
    assert list(transcripts.read(path)) == expected


WORDS = [f"word {n}" for n in range(30)]


@pytest.mark.parametrize("mark", ["\t", "|"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_column_of_speakers_is_found_before_or_behind_the_text(tmp_path, mark, place):
    """The first lines hold each speaker once."""
    rows = [[f"a-{n}", text] for n, text in enumerate(WORDS)]
    for n, row in enumerate(rows):
        row.insert(place, f"spk{n % 12}")
    found = list(transcripts.read(written(tmp_path / "t", "".join(mark.join(row) + "\n" for row in rows))))
    assert found == [Line(f"a-{n}", text, f"spk{n % 12}") for n, text in enumerate(WORDS)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a-{n}|Yes|yes", Line("a-3", "yes")),  # LJSpeech's, of commands
        ("a-{n}|{n} o'clock|word {n}", Line("a-3", "word 3")),
        ("a-{n}\tyes\tno", Line("a-3", "no", "yes")),
    ],
)
def test_columns_that_may_be_both(tmp_path, row, said):
    path = written(tmp_path / "t", "".join(row.format(n=n) + "\n" for n in range(30)))
    assert list(transcripts.read(path))[3] == said


def test_columns_that_nobody_can_tell(tmp_path):
    for content, line, what in (("".join(f"a-{n}\tword {n}\t1.{n % 3}\n" for n in range(30)), 1, "has more than two columns"),
                                ("a-1\tHello\tthere\na-2\tYes\tsir\n", 1, "none of them names speakers"),
                                ('[{"path": "a", "text": "b"},\n{"path": "c", "text": "d"}]\n', None, "is one JSON array"),
                                ('[\n {\n  "path": "a"}]\n', None, "is one JSON array")):  # fmt: skip
        path = written(tmp_path / "t", content)
        with pytest.raises(UserError, match=what) as told:
            transcripts.form_of(path)
        assert str(told.value).startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_json_lines(tmp_path):
    rows = [{"audio_filepath": "a-1", "text": "Hello there", "duration": 1.5, "speaker": "anna"}, {"ID": 7, "Sentence": "Seven"}]
    path = written(tmp_path / "t", "\n".join(map(json.dumps, rows)) + "\n")
    assert transcripts.form_of(path) == "json"
    assert list(transcripts.read(path)) == [SPOKEN[0], Line("7", "Seven")]


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [  # the last line is bad
        ('{"path": "a", "text": "b"}\n{"path": "a"\n', 2, "is no line of the form 'json'"),
        ('{"path": "a", "text": "b"}\n[1]\n', 2, "is no line of the form 'json'"),
        ('{"path": "a", "text": "b"}\n{"path": "a"}\n', 2, "is no line of the form 'json'"),
        (b"a b\nc \xff\n", 2, "is not UTF-8"),
        ("path\ttext\na\tb\na\tb\tc\n", 3, "has 3 columns, the header 2"),
        ("x|y\n" * 20 + "z\n", 21, "is no line of the form 'pipe'"),
        ("x|y\n" * 10 + "z\n", 11, "is no line of the form 'pipe'"),
        ("x\ts\ty\n" * 10 + "z\ty\n", 11, "is no line of the form 'speaker-tab'"),
        ('path,text\na,b\na,"c\n', 3, "opens a quote that does not end"),
        ('path,text\n"' + "a" * 200_000 + ",b\n", 2, "has 0 columns, the header 2"),
    ],
)
def test_a_bad_line_is_a_fault_and_the_rest_goes_on(tmp_path, content, line, what):
    path = written(tmp_path / "t", content)
    good, bad = [], []
    for row in transcripts.read(path):
        (bad if isinstance(row, Fault) else good).append(row)
    assert [(fault.line, fault.what) for fault in bad] == [(line, what)]
    assert len(good) == line - 1 - (content[:4] == "path")  # less the header


def test_a_quote_that_does_not_end_costs_its_line_alone(tmp_path):
    rows = [f"{n},words\n" for n in range(50)]
    rows[3] = '3,"words\n'
    said = list(transcripts.read(written(tmp_path / "t", "path,text\n" + "".join(rows))))
    assert [row.line for row in said if isinstance(row, Fault)] == [5]
    assert [row.key for row in said if isinstance(row, Line)] == [str(n) for n in range(50) if n != 3]


def test_mistakes_of_the_whole_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        list(transcripts.read(tmp_path / "none"))
    with pytest.raises(UserError, match="is UTF-16; save it as UTF-8"):
        list(transcripts.read(written(tmp_path / "t", "a b".encode("utf-16"))))
    with pytest.raises(UserError, match=r"t:1: has no header"):
        list(transcripts.read(written(tmp_path / "t", "a b\n"), "table"))


def test_text_of_any_size_is_streamed_and_drawn_by_hash(tmp_path):
    path = tmp_path / "t.gz"
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.writelines(f"SENTENCE {n}\n" for n in range(20_000))
    drawn = [utt.text for utt in transcripts.sentences(path, 0.1)]
    assert 1800 < len(drawn) < 2200
    assert drawn[:5] != [f"SENTENCE {n}" for n in range(5)]
    first = transcripts.sentences(path)
    assert [next(first).text for _ in range(2)] == ["SENTENCE 0", "SENTENCE 1"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot be read .*fetch or pack it again"):
        list(transcripts.sentences(path))
    with pytest.raises(UserError, match=r"cannot be read .*fetch or pack it again"):
        list(transcripts.sentences(written(tmp_path / "no.gz", "plain text")))


def test_joining_keeps_halves_for_stage_1_to_count(tmp_path):
    fault = Fault(tmp_path, 3, "is not UTF-8", "save it")
    said = [Line("a", "one"), Line("c", "three", "carl"), fault, Line("a", "again")]
    sounds = {"a": Path("a.wav"), "b": Path("b.wav")}
    rows = list(transcripts.join(sounds, said, str.upper))
    assert rows[0] == fault
    assert [(u.utt_id, u.spk, u.wav, u.text) for u in rows[1:]] == [
        ("a", "A", Path("a.wav"), "one"),
        ("a", "A", Path("a.wav"), "again"),
        ("b", "B", Path("b.wav"), None),
        ("c", "carl", None, "three"),
    ]
