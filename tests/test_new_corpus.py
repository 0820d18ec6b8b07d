"""`new-corpus` on folders as people have them: many layouts, languages and formats, and bad ones."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from cycle import check, config, new_corpus, prepare
from cycle.data import kaldi
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json
from cycle.log import log
from tests.tiny_corpus import SENTENCES, tone

GERMAN = ["Straße", "Bäcker", "Öl", "Über", "jeden", "Tag", "schön", "wir", "gehen", "Haus"]


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A clone with a folder egs/ of its own."""
    clone = tmp_path / "clone"
    (clone / "egs").mkdir(parents=True)
    (clone / "conf").symlink_to(config.ROOT / "conf")
    for module in (config, prepare, new_corpus):
        monkeypatch.setattr(module, "ROOT", clone)
    return clone


def made(name: str, audio: Path, text: Path | None = None, lang: str | None = None, sentences: Path | None = None) -> None:
    assert new_corpus.main(argparse.Namespace(name=name, audio=audio, text=text, lang=lang, sentences=sentences)) == 0


def prepared(path: Path, name: str, *words: str) -> Experiment:
    exp = Experiment(path, config.load(name, "cycle", list(words)), name, "cycle")
    prepare.main(exp)
    assert check.faults(exp.path) == []
    return exp


def texts(count: int = 40, words: list[str] = GERMAN) -> list[str]:
    """Sentences of three words, all different."""
    every = list(itertools.permutations(words, 3))
    return [" ".join(words) for words in random.Random(1).sample(every, count)]


def recordings(folder: Path, names: list[str], fs: int = 16000) -> None:
    for name in names:
        tone(folder / name, 2.5, fs)


def kaldi_text(root: Path) -> tuple[Path, Path]:
    names = [f"utt{n:02d}" for n in range(40)]
    recordings(root / "rec", [f"{name}.wav" for name in names])
    (root / "text").write_text("".join(f"{name} {text}\n" for name, text in zip(names, texts(), strict=True)), encoding="utf-8")
    return root / "rec", root / "text"


def common_voice(root: Path) -> tuple[Path, Path]:
    rows = [(f"{n % 8:064x}", f"common_voice_de_{n}.mp3", text + ", nicht?", "2") for n, text in enumerate(texts())]
    recordings(root / "clips", [row[1] for row in rows], 32000)
    table = ["client_id\tpath\tsentence\tup_votes", *("\t".join(row) for row in rows)]
    (root / "validated.tsv").write_text("\n".join(table) + "\n", encoding="utf-8")
    return root / "clips", root / "validated.tsv"


def lj(root: Path) -> tuple[Path, Path]:
    recordings(root / "wavs", [f"LJ-{n:03d}.flac" for n in range(40)], 22050)
    (root / "metadata.csv").write_text("".join(f"LJ-{n:03d}|{n}. X|{text}\n" for n, text in enumerate(texts())), encoding="utf-8")
    return root / "wavs", root / "metadata.csv"


def json_lines(root: Path) -> tuple[Path, Path]:
    rows = [{"audio_filepath": f"{root}/deep/s{n % 5}/{n}.ogg", "text": text, "speaker": n % 5} for n, text in enumerate(texts())]
    recordings(root, [str(Path(row["audio_filepath"]).relative_to(root)) for row in rows], 48000)
    (root / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "deep", root / "manifest.jsonl"


def windows(root: Path) -> tuple[Path, Path]:
    """A mark, carriage returns, backslashes, quotes and spaces in names."""
    names = [f"My Take {n} (1).WAV" for n in range(40)]
    recordings(root / "My Recordings", names)
    with open(root / "list.csv", "w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\r\n")
        writer.writerow(["File", "Speaker", "Text"])
        writer.writerows(
            (f"My Recordings\\{name}", f"Frau {n % 6}", f'"{text}", sagt er')
            for n, (name, text) in enumerate(zip(names, texts(), strict=True))
        )
    return root / "My Recordings", root / "list.csv"


def folders(root: Path) -> tuple[Path, Path]:
    names = [f"{spk}/{spk}_{n}.wav" for spk in ("anna", "ben", "cara", "dirk", "eva") for n in range(8)]
    recordings(root / "by speaker", names)
    lines = (f"{name}\t{text}\n" for name, text in zip(names, texts(), strict=True))
    (root / "text.tsv").write_text("path\ttext\n" + "".join(lines), encoding="utf-8")
    return root / "by speaker", root / "text.tsv"


def sessions(root: Path) -> tuple[Path, Path]:
    """LibriSpeech's: train-x/speaker/chapter/file, the same chapters for all; names in decomposed Unicode, the transcript in composed."""
    people = (("train-all", "Zoe\u0308"), ("train-all", "ben"), ("train-all", "cara"), ("dev", "eva"))
    names = [f"{part}/{spk}/{chapter}/{spk}-{chapter}-{n}.flac" for part, spk in people for chapter in "12" for n in range(5)]
    recordings(root / "lib", names)
    lines = (f"{unicodedata.normalize('NFC', Path(name).stem)} {text}\n" for name, text in zip(names, texts(), strict=True))
    (root / "trans.txt").write_text("".join(lines), encoding="utf-8")
    return root / "lib", root / "trans.txt"


def headless(root: Path) -> tuple[Path, Path]:
    """CSV without a header, from another machine, with a name for the speaker nowhere."""
    recordings(root / "rec", [f"take.{n}.wav" for n in range(40)])
    with open(root / "list.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows((f"C:\\rec\\take.{n}.wav", f"Nun, {text}") for n, text in enumerate(texts()))
    return root / "rec", root / "list.csv"


LAYOUTS: list[tuple[Callable[[Path], tuple[Path, Path]], str, int]] = [
    (kaldi_text, "text", 0), (common_voice, "speaker", 8), (lj, "text", 0), (json_lines, "speaker", 5), (windows, "speaker", 6),
    (folders, "speaker", 5), (sessions, "speaker", 4), (headless, "text", 0),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "split", "spks"), LAYOUTS)
def test_layouts(root, tmp_path, capsys, layout, split, spks):
    audio, text = layout(tmp_path / "c")
    made("mine", audio, text)
    told = capsys.readouterr().out
    assert "egs/mine" in told and "40 recordings, 0.03 h" in told and f"split     by {split}" in told
    assert (f"speakers  {spks}" if spks else "speakers  not known") in told
    assert {p.name for p in (root / "egs/mine").iterdir()} == {"prepare.py", "conf.yaml", "README.md"}
    assert len((root / "egs/mine/prepare.py").read_text().splitlines()) <= 40
    assert len([line for line in (root / "egs/mine/conf.yaml").read_text().splitlines() if line]) <= 20
    readme = (root / "egs/mine/README.md").read_text().lower()
    assert all(word in readme for word in ("source", "licence", " h,", "--corpus"))
    for preset in ("smoke", "cpu", "gpu") if layout is kaldi_text else ("smoke",):
        exp = prepared(tmp_path / preset, "mine", f"preset={preset}")
        assert all(kaldi.read(exp.data(name)) for name in POOLS)
        assert not (exp.path / "data/rejected.tsv").exists()
        if split == "speaker":
            heard = {name: {u.spk for u in kaldi.read(exp.data(name))} for name in ("paired", "speech", "dev", "test")}
            assert not heard["test"] & (heard["paired"] | heard["speech"] | heard["dev"])
    words = {token for name in POOLS if name != "speech" for text in kaldi.read_tokens(exp.data(name)).values() for token in text.split()}
    assert {"ä", "ö", "|", "s"} <= words and not words & set('S",.?')


def kaldi_dirs(root: Path, *names: str) -> Path:
    every = iter(texts(120))
    for n, name in enumerate(names):
        utts = [
            Utterance(f"{spk}-{k}", spk, tone(root / f"{spk}-{k}.wav", 2.5), next(every)) for spk in (f"a{n}", f"b{n}") for k in range(12)
        ]
        kaldi.write(root / "data" / name, utts, {u.utt_id: "x" for u in utts})
        (root / "data" / name / "tokens").unlink()
        (root / "data" / name / "utt2dur").unlink(missing_ok=True)
    return root / "data"


def test_kaldi_directories_with_their_own_split(root, tmp_path, capsys):
    made("kaldi", kaldi_dirs(tmp_path / "c", "train_all", "dev", "test_clean"))
    assert "split     by folder" in capsys.readouterr().out
    exp = prepared(tmp_path / "exp", "kaldi")
    assert (len(kaldi.read(exp.data("dev"))), len(kaldi.read(exp.data("test")))) == (24, 24)
    assert {u.spk for u in kaldi.read(exp.data("test"))} == {"a2", "b2"}
    assert read_json(exp.path / "data/summary.json")["official"] == ["dev", "test"]


def test_kaldi_directories_with_the_same_ids_and_one_transcript(root, tmp_path, capsys):
    """Recordings are numbered anew in each directory; the transcript of another corpus names ids that none has."""
    folders, every = tmp_path / "c", iter(texts(48))
    for name in ("train", "dev", "test"):
        utts = [Utterance(f"u{n:02d}", "s", tone(tmp_path / "wav" / f"{name}{n}.wav", 2.5), next(every)) for n in range(16)]
        kaldi.write(folders / name, utts, {u.utt_id: "x" for u in utts})
    made("own", folders)
    assert "48 recordings" in capsys.readouterr().out
    assert {utt.utt_id for utt in kaldi.read(prepared(tmp_path / "own", "own").data("dev"))} == {f"dev-u{n:02d}" for n in range(16)}
    for name, first in (("train", "a"), ("dev", "b"), ("test", "c")):
        for file in ("wav.scp", "utt2spk", "text"):
            (folders / name / file).write_text((folders / name / file).read_text().replace("u", first, 1).replace("\nu", f"\n{first}"))
    lines = [line for name in ("train", "dev", "test") for line in (folders / name / "text").read_text().splitlines()]
    for name in ("train", "dev", "test"):
        (folders / name / "text").unlink()
        (folders / name / "utt2spk").write_bytes((folders / name / "utt2spk").read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "all.txt").write_text("\n".join([*lines, "x77 nowhere"]) + "\n", encoding="utf-8")
    made("joined", folders, tmp_path / "all.txt")
    told = capsys.readouterr().out
    assert "48 recordings" in told and "speakers  1 (" in told and "left out  1 (1 text without audio)" in told
    assert {utt.utt_id[0] for utt in kaldi.read(prepared(tmp_path / "joined", "joined").data("test"))} == {"c"}


def test_evaluation_sets_of_others_stand_as_they_are(root, tmp_path, capsys):
    folders = kaldi_dirs(tmp_path / "c", "train", "dev", "test")
    for n in range(5):
        tone(tmp_path / f"c/a2-{n}.wav", 2.5, peak=3.0)
        tone(tmp_path / f"c/a0-{n}.wav", 2.5, peak=3.0)
    made("loud", folders)
    told = capsys.readouterr().out
    assert "67 recordings" in told and "left out  5 (5 clipped)" in told and "24 dev, 24 test" in told
    assert len(kaldi.read(prepared(tmp_path / "exp", "loud").data("test"))) == 24


def test_two_texts_of_one_kaldi_id_are_both_left_out(root, tmp_path):
    folder = kaldi_dirs(tmp_path / "c", "train") / "train"
    with open(folder / "text", "a") as handle:
        handle.write("a0-1 other words\n")
    made("twice", folder)
    assert (root / "egs/twice/rejected.tsv").read_text().count("duplicate id\tall\ta0-1\t") == 2


def test_one_kaldi_directory_with_relative_paths_and_bad_lines(root, tmp_path):
    """Unsorted, doubled, a pipe, bad UTF-8: counted, and the rest goes on."""
    folder = kaldi_dirs(tmp_path / "c", "train") / "train"
    lines = [line.replace(f"{tmp_path}/c/", "") for line in (folder / "wav.scp").read_text().splitlines()]
    (folder / "wav.scp").write_text("\n".join([*reversed(lines), f"pipe touch {tmp_path}/ran |"]) + "\n")
    with open(folder / "text", "ab") as handle:
        handle.write(b"a0-1 again\npipe some words\nbad \xff\n../x out\n")
    made("kaldi", folder)
    assert not (tmp_path / "ran").exists()
    rejected = (root / "egs/kaldi/rejected.tsv").read_text()
    assert "bad path (is a pipe, which is never run)\tall\tpipe" in rejected and "is not UTF-8" in rejected
    assert "text without audio\tall\t-..-x" not in rejected
    exp = prepared(tmp_path / "exp", "kaldi")
    assert not (tmp_path / "ran").exists()
    assert (exp.path / "data/rejected.tsv").read_text() == rejected


def mandarin(root: Path) -> tuple[Path, Path]:
    rows = [f"rec{n:02d}|{SENTENCES[n // 10]}，{n % 10}号{'OK' if n == 3 else ''}。" for n in range(40)]
    recordings(root / "wav", [f"rec{n:02d}.wav" for n in range(40)])
    (root / "t.txt").write_text("\n".join(rows), encoding="utf-8")
    return root / "wav", root / "t.txt"


@pytest.mark.parametrize(
    ("sample", "code", "expected"),
    [
        ("我们 OK", None, "cmn"),
        ("hello", None, "letters"),
        ("привет мир", None, "letters"),
        ("สวัสดี", None, "characters"),
        ("私は学生です", None, "characters"),
        ("한국말", None, "letters"),
        ("", None, "letters"),
        ("hello", "zh-CN", "cmn"),
        ("hello", "ja", "characters"),
        ("hello", "Thai", "characters"),
        ("hello", "tr-TR", "turkic"),
        ("我们", "de", "letters"),
    ],
)
def test_languages(sample, code, expected):
    assert new_corpus.language(code, sample) == expected


def test_mandarin_with_numbers_and_latin(root, tmp_path, capsys):
    made("zh", *mandarin(tmp_path / "c"))
    assert "spelling  cmn" in capsys.readouterr().out
    exp = prepared(tmp_path / "exp", "zh")
    every = " ".join(text for name in ("paired", "text", "dev", "test") for text in kaldi.read_tokens(exp.data(name)).values())
    assert "h ao 4" in every and not (exp.path / "data/rejected.tsv").exists()


def test_speech_without_text_and_sentences_without_speech(root, tmp_path, capsys):
    audio, text = kaldi_text(tmp_path / "c")
    recordings(audio, [f"radio{n}.wav" for n in range(20)])
    (tmp_path / "news.txt").write_text("\n".join([*texts(300), *texts(40), "42"]), encoding="utf-8")
    made("semi", audio, text, sentences=tmp_path / "news.txt")
    assert "60 recordings" in capsys.readouterr().out
    exp = prepared(tmp_path / "exp", "semi")
    assert {u.utt_id[:5] for u in kaldi.read(exp.data("speech"))} == {"radio"} and len(kaldi.read(exp.data("speech"))) == 20
    assert (exp.oracle / "speech/tokens").read_text() == ""
    pool = list(kaldi.read_tokens(exp.data("text")).values())
    evaluation = {text for name in ("dev", "test") for text in kaldi.read_tokens(exp.data(name)).values()}
    assert len(pool) == len(set(pool)) > 200 and not set(pool) & evaluation


def test_sentences_that_everybody_reads_are_split_by_text(root, tmp_path, capsys):
    rows = [(f"s{s}_{n}", f"s{s}", text) for s in range(6) for n, text in enumerate(texts(10))]
    recordings(tmp_path / "c", [f"{key}.wav" for key, *_ in rows])
    (tmp_path / "t.tsv").write_text("id\tspeaker\ttext\n" + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    made("prompts", tmp_path / "c", tmp_path / "t.tsv")
    assert "split     by text: the speakers say the same sentences" in capsys.readouterr().out
    prepared(tmp_path / "exp", "prompts")


def test_a_recipe_with_its_own_pronunciation(root, tmp_path):
    made("it", *kaldi_text(tmp_path / "c"))
    with open(root / "egs/it/prepare.py", "a") as handle:
        handle.write("\n\ndef pronounce(text):\n    return list(text.replace('sch', 'S').replace(' ', '|'))\n")
    exp = prepared(tmp_path / "exp", "it")
    assert any("S ö n" in text for name in ("paired", "text") for text in kaldi.read_tokens(exp.data(name)).values())


@pytest.mark.parametrize(("code", "said"), [("def pronounce(:\n", "SyntaxError: "), ("LEXICON = foo\n", "NameError: name 'foo'")])
def test_a_recipe_that_cannot_be_read(root, tmp_path, code, said):
    made("it", *kaldi_text(tmp_path / "c"))
    file = root / "egs/it/prepare.py"
    lines = len(file.read_text().splitlines())
    with open(file, "a") as handle:
        handle.write(code)
    with pytest.raises(UserError, match=rf"egs/it/prepare\.py:{lines + 1}: {said}"):
        prepared(tmp_path / "exp", "it")


def test_what_stands_in_brackets_is_told(root, tmp_path, capsys, caplog, monkeypatch):
    audio, text = kaldi_text(tmp_path / "c")
    rows = text.read_text().splitlines()
    text.write_text("\n".join([f"{rows[0]} [noise]", f"{rows[1]} (laughs)", f"{rows[2]} [noise]", *rows[3:]]) + "\n")
    made("it", audio, text)
    said = "3 times something stands in brackets, and is read aloud as it stands: [noise] 2, (laughs) 1"
    assert said in capsys.readouterr().out
    monkeypatch.setattr(log, "propagate", True)
    prepared(tmp_path / "exp", "it")
    assert any(said in line for line in caplog.messages)


def test_long_recordings_raise_the_limit(root, tmp_path):
    audio, text = kaldi_text(tmp_path / "c")
    for n in range(10):
        tone(audio / f"utt{n:02d}.wav", 25)
    rows = text.read_text(encoding="utf-8").splitlines()
    text.write_text("".join(f"{row}{' und so weiter' * 4 * (n < 10)}\n" for n, row in enumerate(rows)), encoding="utf-8")
    made("long", audio, text)
    assert yaml.safe_load((root / "egs/long/conf.yaml").read_text())["features"] == {"max_seconds": 30.0}
    prepared(tmp_path / "exp", "long")


def test_bad_items_are_listed(root, tmp_path, capsys):
    audio, text = kaldi_text(tmp_path / "c")
    (audio / "utt00.wav").write_bytes(b"")
    soundfile.write(audio / "utt01.wav", np.zeros(40000), 16000)
    shutil.copy(audio / "utt03.wav", audio / "utt02.wav")
    (audio / "utt04.wav").unlink()
    tone(audio / "utt05.wav", 2.5, peak=3.0)
    with open(text, "a", encoding="utf-8") as handle:
        handle.write("../../etc/passwd root\nutt06 zweimal\nutt07x 4 Worte\n")
    made("bad", audio, text)
    told = capsys.readouterr().out
    rows = [line.split("\t") for line in (root / "egs/bad/rejected.tsv").read_text().splitlines()[1:]]
    assert {row[2]: row[0] for row in rows} == {
        "utt00": "empty file",
        "utt01": "silent",
        "utt03": "recording doubled",
        "utt04": "text without audio",
        "utt05": "clipped",
        "..-..-etc-passwd": "text without audio",
        "utt06": "duplicate id",
        "utt07x": "text without audio",
    }
    assert "left out  9 (" in told and "1 silent" in told
    prepared(tmp_path / "exp", "bad")


def test_recordings_of_others_are_not_taken(root, tmp_path):
    """The transcript speaks of anna/00.wav, there is ben/00.wav alone."""
    recordings(tmp_path / "c", [f"ben/{n:02d}.wav" for n in range(40)])
    (tmp_path / "t").write_text("".join(f"anna/{n:02d}.wav {text}\n" for n, text in enumerate(texts())), encoding="utf-8")
    with pytest.raises(UserError, match="text without audio"):
        made("anna", tmp_path / "c", tmp_path / "t")


def test_of_a_recording_in_two_formats_one_is_used(root, tmp_path, capsys):
    audio, text = kaldi_text(tmp_path / "c")
    for n in range(10):
        tone(audio / f"utt{n:02d}.ogg", 2.5)
    made("both", audio, text)
    told = capsys.readouterr().out
    assert "40 recordings" in told and "left out  10 (10 recording in another format)" in told
    assert {Path(utt.wav).suffix for utt in kaldi.read(prepared(tmp_path / "exp", "both").data("paired"))} == {".wav"}


def test_sentences_that_cannot_be_used(root, tmp_path):
    audio, text = kaldi_text(tmp_path / "c")
    (tmp_path / "s.txt").write_text("\n".join([*texts(40)[:10], *(f"{n} Tage" for n in range(60))]), encoding="utf-8")
    with pytest.raises(UserError, match=r"s.txt: 60 of 70 items of 'text' cannot be used \(60 character without reading\)"):
        made("semi", audio, text, sentences=tmp_path / "s.txt")


def test_bad_recordings_of_one_speaker_stop_nobody(root, tmp_path, capsys):
    """Whoever it is that goes into dev: new-corpus has counted them, and its recipe runs."""
    audio, text = folders(tmp_path / "c")
    for spk in ("anna", "ben"):
        for n in range(5):
            (audio / spk / f"{spk}_{n}.wav").write_bytes(b"")
    made("mine", audio, text)
    assert "left out  10 (10 empty file)" in capsys.readouterr().out
    prepared(tmp_path / "exp", "mine", "preset=smoke")


def test_a_recording_beside_the_folders_hides_no_speaker(root, tmp_path, capsys):
    audio, text = folders(tmp_path / "c")
    tone(audio / "jingle.wav", 2.5)
    made("mine", audio, text)
    assert "speakers  5 (from the folder)" in capsys.readouterr().out
    assert kaldi.NOBODY not in {u.spk for u in kaldi.read(prepared(tmp_path / "exp", "mine", "preset=smoke").data("test"))}


def test_many_folders_inside_those_of_a_few_speakers_are_told(root, tmp_path, capsys):
    names = [f"{part}/{part[0]}{n % 10}/{part}{n}.wav" for part in ("old", "new") for n in range(20)]
    recordings(tmp_path / "c", names)
    (tmp_path / "t").write_text("".join(f"{name} {text}\n" for name, text in zip(names, texts(), strict=True)), encoding="utf-8")
    made("mine", tmp_path / "c", tmp_path / "t")
    assert "speakers  2 (from the folder); 20 folders lie inside: if those are the speakers" in capsys.readouterr().out


def test_published_sets_without_text_are_no_speech_pool(root, tmp_path):
    data = kaldi_dirs(tmp_path / "c", "train", "test", "unlabelled")
    (data / "test/text").unlink()
    (data / "unlabelled/text").unlink()
    with pytest.raises(UserError, match=r"24 of 24 items of 'test' cannot be used \(24 audio without text\)"):
        made("mine", data)


def test_recordings_without_text_of_those_who_are_held_out_are_not_heard(root, tmp_path):
    """By speaker, and where a published set lacks a few texts."""
    audio, text = folders(tmp_path / "c")
    lines = text.read_text(encoding="utf-8").splitlines()
    text.write_text("\n".join(line for line in lines if not re.search(r"_[67]\.wav", line)) + "\n", encoding="utf-8")
    made("mine", audio, text)
    exp = prepared(tmp_path / "exp", "mine", "preset=smoke")  # check finds no speaker on both sides
    assert {utt.spk for utt in kaldi.read(exp.data("speech"))} and not (exp.path / "data/rejected.tsv").exists()
    data = kaldi_dirs(tmp_path / "k", "train", "test", "unlabelled")
    (data / "unlabelled/text").unlink()
    few = (data / "test/text").read_text(encoding="utf-8").splitlines()
    (data / "test/text").write_text("\n".join(few[2:]) + "\n", encoding="utf-8")
    made("own", data)
    exp = prepared(tmp_path / "own", "own")
    assert len(kaldi.read(exp.data("test"))) == 22
    assert {utt.spk for utt in kaldi.read(exp.data("speech"))} == {"a2", "b2"}


def test_a_line_that_stands_there_twice_is_one(root, tmp_path, capsys):
    audio, text = kaldi_text(tmp_path / "c")
    lines = text.read_text(encoding="utf-8").splitlines()
    text.write_text("\n".join([*lines, lines[3], "utt07 etwas anderes"]) + "\n", encoding="utf-8")
    made("mine", audio, text)
    told = capsys.readouterr().out
    assert "39 recordings" in told and "left out  3 (2 duplicate id, 1 line doubled)" in told
    prepared(tmp_path / "exp", "mine", "preset=smoke")


def test_what_looks_odd_is_said(root, tmp_path, capsys):
    audio, text = kaldi_text(tmp_path / "c")
    (tmp_path / "s.txt").write_text("\n".join([*texts(90)[:60], "Жук", "Яд"]), encoding="utf-8")
    made("semi", audio, text, sentences=tmp_path / "s.txt")
    told = capsys.readouterr().out
    assert "strange   5 kinds of tokens of the text pool are in no recording: д ж к у я" in told and "look again" not in told
    made("odd", audio, text, lang="tr")
    assert "look again" not in capsys.readouterr().out
    (tmp_path / "zh").write_text("".join(f"utt{n:02d} {SENTENCES[n % 10]}{SENTENCES[n // 10]}\n" for n in range(40)), encoding="utf-8")
    made("odd2", audio, tmp_path / "zh", lang="en")
    assert "look again: --lang en spells by letters, the script of the transcript asks for cmn" in capsys.readouterr().out


def test_a_circle_of_links_is_no_trap(root, tmp_path):
    audio, text = kaldi_text(tmp_path / "c")
    (audio / "loop").symlink_to(audio)
    (audio / "self.wav").symlink_to(audio / "self.wav")
    made("loop", audio, text)
    prepared(tmp_path / "exp", "loop")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../out"}, "'../out' is no name for a corpus"),
        ({"name": ""}, "'' is no name"),
        ({"name": "taken"}, "egs/taken: exists already; choose another name"),
        ({"audio": Path("/nowhere")}, "/nowhere: no such folder"),
        ({"audio": Path("a" * 300)}, "a: no such folder"),
        ({"audio": Path(__file__)}, "test_new_corpus.py: is no folder"),
        ({"audio": config.ROOT / "conf"}, "conf: holds no recordings; these are known: .aif"),
        ({"text": Path("/nowhere")}, "/nowhere: no such file"),
        ({"lang": "no such tongue"}, "--lang: 'no such tongue' is no language code"),
        ({"text": None}, "holds no wav.scp, and no transcript is given; give the transcript: --text FILE"),
        ({"sentences": Path("/nowhere")}, "/nowhere: no such file"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_left(root, tmp_path, change, message):
    audio, text = kaldi_text(tmp_path / "c")
    (root / "egs/taken").mkdir()
    options = {"name": "new", "audio": audio, "text": text, "lang": None, "sentences": None, **change}
    with pytest.raises(UserError) as caught:
        new_corpus.main(argparse.Namespace(**options))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert [p.name for p in (root / "egs").iterdir()] == ["taken"]


def lines(count: int, text: Callable[[int], str]) -> str:
    return "".join(f"utt{n:02d} {text(n)}\n" for n in range(count))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("".join(f"other{n} text\n" for n in range(40)), r"40 of 40 items of .all. .*40 text without audio\); check that --audio and"),
        (lines(40, lambda n: "a" * (n % 9 + 1)), "every text is spelled with 'a' alone"),
        (lines(40, str), "character without reading"),
        (lines(2, lambda n: "ja nein"), "not enough usable data|items cannot be used"),
        ("", "no recording has a text|audio without text"),
        ("utt00 Straße\n".encode("utf-16"), "is UTF-16"),
        (
            "".join(f"utt{n:02d} Straße\n" for n in range(40)).encode("latin-1"),
            r"40 is not UTF-8.*; save it as UTF-8, /.*/text:1 for one",
        ),
        ("".join(f"other{n} {'long ' * 99}\n" for n in range(40)), r"belong together, \w+ \([\w ]{80}\) for one"),
        (b"\x00\xff" * 4000, "1 of 1 items of .all. cannot be used"),
    ],
)
def test_transcripts_that_do_not_belong(root, tmp_path, content, message):
    audio, text = kaldi_text(tmp_path / "c")
    text.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        made("new", audio, text)
    assert not list((root / "egs").iterdir())


def test_segments_are_refused(root, tmp_path):
    folder = kaldi_dirs(tmp_path / "c", "train") / "train"
    (folder / "segments").write_text("a b 0 1\n")
    with pytest.raises(UserError, match=r"segments: cuts recordings into pieces; write"):
        made("new", folder)


def test_a_path_that_configurations_would_replace_is_refused(root, tmp_path):
    audio, text = kaldi_text(tmp_path / "${oc.env:HOME}")
    with pytest.raises(UserError, match="holds"):
        made("new", audio, text)
