from __future__ import annotations

import dataclasses
import json

import pytest

from cycle import check, prepare
from cycle.data import kaldi
from cycle.data.types import Utterance
from cycle.files import write_json
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
        ("text", b"\xef\xbb\xbfa-0 x\na-1 x\nb-0 x\nb-1 x\n", ["text:1: begins with a byte order mark"]),
        ("text", b"a-0 x\na-1 x\r\nb-0 x\nb-1 x\n", ["text:2: ends in a carriage return", "wav.scp:2: a-1 is not in text"]),
        ("text", b"a-0 x\n../a x\na-1 x\nb-0 x\nb-1 x\n", ["text:2: the id holds a path separator"]),
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


def test_a_leak_in_the_second_text(tmp_path):
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    prepare.main(exp)
    test, paired = kaldi.read_tokens(exp.data("test")), kaldi.read_tokens(exp.data("paired"))
    secret, victim = next(iter(test)), next(iter(paired))
    for pool, own in (("test", test), ("paired", paired)):
        kaldi.write_table(exp.data(pool) / "references", {key: json.dumps([text]) for key, text in own.items()})
    assert check.faults(exp.path) == []
    both = {secret: [test[secret], "x"], victim: [paired[victim], "x"]}
    for pool, own in (("test", test), ("paired", paired)):
        kaldi.write_table(exp.data(pool) / "references", {key: json.dumps(both.get(key, [text])) for key, text in own.items()})
    [found] = [str(fault) for fault in check.faults(exp.path)]
    assert "paired/references:1: " in found and f"{victim} is said in test as well" in found


def test_a_folder_of_experiments_is_none(tmp_path):
    for name in ("one", "two"):
        write_json(tmp_path / "exp" / name / "experiment.json", {})
    assert [str(fault) for fault in check.faults(tmp_path / "exp")] == [f"{tmp_path}/exp: holds experiments, look at one of them: one, two"]


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


def test_kaldi_directories_need_no_tokens_and_pools_do(pool, tmp_path):
    (pool / "tokens").unlink()
    assert lines(pool) == []
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    prepare.main(exp)
    (exp.data("dev") / "tokens").unlink()
    assert lines(exp.data("dev")) == ["tokens: is missing, text needs it, run stage 1 again or write it"]


def test_clipping_copies_and_wrong_lengths(pool, tmp_path):
    folder = tmp_path / "my audio"
    tone(folder / "a'0.wav", peak=2.0)
    (folder / "b'1.wav").write_bytes((folder / "b'0.wav").read_bytes())
    kaldi.write_table(pool / "tokens", {"a-0": "h ao3", "a-1": " ".join(["h", "ao3"] * 60), "b-0": "h ao3", "b-1": "h ao3"})
    assert [line.partition(", ")[0] for line in lines(pool)] == [
        "tokens:2: a-1 lasts 1.50 s",
        "wav.scp:1: a-0 is clipped (67 % of its samples lie flat at the peak)",
        "wav.scp:4: b-1 is the same recording as b-0",
    ]
    write_json(tmp_path / "summary.json", {"pools": {}, "features": {"fs": 16000, "hop": 64}})
    assert len(lines(pool)) == 2  # frames of 4 ms are enough
    tone(folder / "a'0.wav", seconds=9.5)
    assert any("a-0 lasts 9.50 s, too long for its text" in line for line in lines(pool))


def test_tokens_that_no_model_knows(tmp_path):
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    prepare.main(exp)
    known = {t for name in ("paired", "text") for text in kaldi.read_tokens(exp.data(name)).values() for t in text.split()}
    exp.tokens.mkdir()
    (exp.tokens / "tokens.txt").write_text("".join(f"{t}\n" for t in ["<blank>", *sorted(known), "<sos/eos>"]), encoding="utf-8")
    assert check.faults(exp.path) == []  # what only dev and test say is no fault: it is counted as an error there
    paired = kaldi.read_tokens(exp.data("paired"))
    victim = next(iter(paired))
    for strange in ("zz9", "<blank>"):
        kaldi.write_table(exp.data("paired") / "tokens", {**paired, victim: f"{paired[victim]} {strange}"})
        assert f"paired/tokens:1: {victim} has '{strange}' outside the token list" in str(check.faults(exp.path)[0])


@pytest.fixture
def splits(tmp_path):
    """Kaldi directories train and test, of two speakers each."""
    for name, spks in (("train", "ab"), ("test", "cd")):
        utts = [Utterance(f"{spk}-{n}", spk, tone(tmp_path / "wav" / f"{spk}{n}.wav"), f"好 {spk}", 1.5) for spk in spks for n in range(2)]
        kaldi.write(tmp_path / "data" / name, utts, {u.utt_id: f"h ao3 {u.spk}" for u in utts})
    return tmp_path / "data"


def test_speakers_texts_and_recordings_across_splits(splits, tmp_path):
    assert check.faults(splits) == check.faults(splits.parent) == []
    (tmp_path / "wav" / "b1.wav").write_bytes((tmp_path / "wav" / "c1.wav").read_bytes())
    train = kaldi.read(splits / "train")
    utts = [dataclasses.replace(u, spk={"a-1": "d"}.get(u.utt_id, u.spk), text={"b-0": "好 c"}.get(u.utt_id, u.text)) for u in train]
    kaldi.write(splits / "train", utts, {u.utt_id: {"b-0": "h ao3 c"}.get(u.utt_id, f"h ao3 {u.spk}") for u in utts})
    assert lines(splits)[:2] == [
        "train/tokens:2: a-1 is said in test as well, remove it, or run stage 1 again",
        "train/tokens:3: b-0 is said in test as well, remove it, or run stage 1 again",
    ]
    assert lines(splits)[2:] == [
        "train/wav.scp:4: b-1 is the same recording as c-1 of test, keep it in one pool",
        "train/utt2spk:2: d speaks in test as well, split by speaker",
    ]


def test_published_test_sets_may_share_and_split_by_speaker_must_not(splits):
    train = kaldi.read(splits / "train")
    kaldi.write(splits / "train", [dataclasses.replace(u, spk="c") for u in train], {u.utt_id: "h ao3 c" for u in train})
    assert len(check.faults(splits)) == 5
    write_json(splits / "summary.json", {"pools": {}, "official": ["test"], "split": "official"})
    assert check.faults(splits) == []
    write_json(splits / "summary.json", {"pools": {}, "official": [], "split": "speaker"})
    assert any("c speaks in test as well" in line for line in lines(splits))


def test_thousands_of_faults_are_summarised_and_listed(tmp_path, capsys):
    utts = [Utterance(f"a-{n:04d}", "a", tmp_path / "gone" / f"{n}.wav", "好", 1.5) for n in range(3000)]
    kaldi.write(tmp_path / "d", utts, {u.utt_id: "h ao3" for u in utts})
    assert check.main(tmp_path / "d", tmp_path / "faults.tsv") == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == check.SHOWN + 1
    assert told[-1] == f"error: {tmp_path}/d/wav.scp: 2950 more such lines, list them all with --list FILE"
    assert len((tmp_path / "faults.tsv").read_text().splitlines()) == 3001
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["spk2utt", "text", "tokens", "utt2dur", "utt2spk", "wav.scp"]


def test_links_in_a_circle_are_walked_once(tmp_path):
    root = corpus(tmp_path / "c")
    (root / "again").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "up").symlink_to(tmp_path)
    assert check.faults(root) == []
