from __future__ import annotations

import pytest

from cycle import check, prepare
from cycle.data import kaldi
from cycle.data.types import Utterance
from tests.tiny_corpus import corpus, experiment, tone


@pytest.fixture
def pool(tmp_path):
    utts = [Utterance(f"{spk}-{n}", spk, tone(tmp_path / "my audio" / f"{spk}'{n}.wav"), "好", 1.5) for spk in "ab" for n in range(2)]
    kaldi.write(tmp_path / "d", utts, {u.utt_id: "h ao3" for u in utts})
    return tmp_path / "d"


def lines(path) -> list[str]:
    return [str(fault).replace(f"{path}/", "") for fault in check.faults(path)]


def test_a_clean_directory_is_left_alone(pool, capsys):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in pool.iterdir()}
    assert check.main(pool) == 0
    assert capsys.readouterr() == ("", "")
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in pool.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content", "faults"),
    [
        ("text", "a-0 好\na-1 好\nb-1 好\nb-0 好\n", ["text:4: b-0 is out of order"]),
        ("text", "a-0 好\na-0 好\na-1 好\nb-0 好\nb-1 好\n", ["text:2: a-0 stands on line 1 already"]),
        ("text", "a-0 好\na-1\nb-0 好\nb-1 好\n", ["text:2: a-1 has no value", "wav.scp:2: a-1 is not in text"]),
        ("text", "a-0 好\na-1 好\nb-0 好\nb-1 好\nc 好\n", ["text:5: c is not in wav.scp"]),
        ("text", b"a-0 x\na-1 x\nb-0 x\nb-1 \xff\n", ["text:4: is not UTF-8", "wav.scp:4: b-1 is not in text"]),
        ("text", "", ["text: is empty", *(f"wav.scp:{n}: {k} is not in text" for n, k in enumerate(["a-0", "a-1", "b-0", "b-1"], 1))]),
        ("text", None, ["text: is missing, tokens needs it"]),
        ("tokens", None, ["tokens: is missing, text needs it"]),
        ("utt2spk", None, ["utt2spk: is missing, wav.scp needs it"]),
        ("spk2utt", "a a-0 a-1\nb b-0\n", ["utt2spk:4: b-1 of b is not in spk2utt"]),
        ("spk2utt", "a a-0 a-1 b-1\nb b-0 b-1\n", ["spk2utt:1: b-1 is not said by a in utt2spk"]),
        (
            "utt2dur",
            "a-0 0\na-1 x\nb-0 1\nb-1 nan\n",
            ["utt2dur:1: '0' is no length", "utt2dur:2: 'x' is no length", "utt2dur:4: 'nan' is no length"],
        ),
    ],
)
def test_every_fault_names_file_and_line(pool, name, content, faults):
    if content is None:
        (pool / name).unlink()
    else:
        (pool / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = lines(pool)
    assert len(found) == len(faults)
    assert all(any(line.startswith(fault) for line in found) for fault in faults), found


def test_bad_audio_and_pipes_are_told_all_at_once(pool, tmp_path, capsys):
    (tmp_path / "my audio" / "a'0.wav").write_bytes(b"")
    (tmp_path / "my audio" / "a'1.wav").unlink()
    (tmp_path / "my audio" / "b'0.wav").write_bytes(b"noise")
    rows = (pool / "wav.scp").read_text().splitlines()
    (pool / "wav.scp").write_text("\n".join([*rows[:3], f"b-1 touch {tmp_path}/ran |"]) + "\n")
    assert check.main(pool) == 2
    out, err = capsys.readouterr()
    told = err.splitlines()
    assert out == ""
    assert len(told) == 4
    assert all(line.startswith(f"error: {pool}/wav.scp:{n}: ") and ", " in line for n, line in enumerate(told, 1))
    for line, reason in zip(told, ["empty file", "no such file", "unreadable audio", "is a pipe"], strict=True):
        assert reason in line
    assert not (tmp_path / "ran").exists()


def test_a_path_that_is_no_folder(tmp_path, capsys):
    assert check.main(tmp_path / "none") == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/none: is no folder, give a data directory, an experiment or a corpus folder\n"


def test_an_experiment_and_leaks_between_its_pools(tmp_path):
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    prepare.main(exp)
    assert check.faults(exp.path) == check.faults(exp.path / "data") == []
    test, text = kaldi.read_tokens(exp.data("test")), kaldi.read_tokens(exp.data("text"))
    victim = next(iter(text))
    kaldi.write_table(exp.data("text") / "tokens", {**text, victim: next(iter(test.values()))})
    speech = {u.utt_id: "好" for u in kaldi.read(exp.data("speech"))}
    kaldi.write_table(exp.data("speech") / "text", speech)
    kaldi.write_table(exp.data("speech") / "tokens", dict.fromkeys(speech, "h ao3"))
    found = [str(fault) for fault in check.faults(exp.path)]
    assert any("tokens:1: " in line and f"{victim} is said in test as well" in line for line in found)
    assert sum("is the text of the speech pool" in line for line in found) == 2
    assert len(found) == 3


def test_a_corpus_folder(tmp_path):
    root = corpus(tmp_path / "c")
    assert check.faults(root) == []
    (root / "text").write_bytes(b"s-00 \xff\n")
    assert lines(root) == ["text:1: is not UTF-8, save the file as UTF-8"]
    (root / "text").rename(root / "text.bin")
    (root / "deep").mkdir()
    (root / "deep" / "x.flac").write_bytes(b"no")
    (root / "deep" / "notes.txt").write_bytes(b"fine\n\xff\n")
    assert lines(root) == [
        "deep/x.flac: unreadable audio, mend the recording or remove it",
        "deep/notes.txt:2: is not UTF-8, save the file as UTF-8",
    ]
    (tmp_path / "empty").mkdir()
    assert "holds no recordings" in str(check.faults(tmp_path / "empty")[0])


def test_looking_without_decoding(pool, tmp_path):
    (tmp_path / "my audio" / "a'0.wav").write_bytes(b"")
    (tmp_path / "my audio" / "a'1.wav").unlink()
    assert ["no such file" in str(fault) for fault in check.directory_faults(pool, decode=False)] == [True]
