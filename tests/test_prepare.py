"""Stage 1 as a user meets it: good corpora, and every bad input of the list."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cycle import check, prepare
from cycle.data import kaldi
from cycle.data.intake import form_fault
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError
from cycle.files import read_json
from tests.tiny_corpus import SENTENCES, SIZES, corpus, experiment, tone


def rejected(exp) -> dict[str, str]:
    path = exp.path / "data" / "rejected.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]] if path.exists() else []
    return {row[2]: row[0] for row in rows}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_five_valid_pools(tmp_path):
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    prepare.main(exp)
    assert check.faults(exp.path) == []
    assert {name: len(kaldi.read(exp.data(name))) for name in POOLS} == SIZES
    for name in ("paired", "speech", "dev", "test"):
        for utt in kaldi.read(exp.data(name)):
            assert utt.wav is not None and utt.wav.is_absolute() and utt.wav.is_file()
            assert utt.seconds == pytest.approx(1.5)
            assert utt.spk == "s"
    assert not rejected(exp)
    summary = read_json(exp.path / "data" / "summary.json")
    assert {name: row["utterances"] for name, row in summary["pools"].items()} == SIZES
    assert summary["recordings"] == {"16000 Hz, 1 channel": 10}


def test_the_truth_of_the_speech_pool_is_in_oracle_alone(tmp_path):
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    prepare.main(exp)
    ids = {u.utt_id for u in kaldi.read(exp.data("speech"))}
    truth = kaldi.read_table(exp.oracle / "speech" / "text")
    tokens = kaldi.read_table(exp.oracle / "speech" / "tokens")
    assert truth.keys() == tokens.keys() == ids
    assert set(truth.values()) <= set(SENTENCES)
    for name, content in tree(exp.path).items():
        if not name.startswith("oracle/"):
            assert not any(text in content.decode() for text in [*truth.values(), *tokens.values()]), name
    assert not set(kaldi.read_tokens(exp.data("text")).values()) & set(tokens.values())


def test_the_same_again_gives_the_same_bytes(tmp_path):
    root = corpus(tmp_path / "c")
    for name in ("a", "b"):
        prepare.main(experiment(tmp_path / name, root))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_other_numbers_of_pairs_leave_the_rest_alone(tmp_path):
    root = corpus(tmp_path / "c")
    few, many = (experiment(tmp_path / str(n), root, paired=n) for n in (1, 4))
    prepare.main(few)
    prepare.main(many)
    for name in ("speech", "text", "dev", "test"):
        assert kaldi.read(few.data(name)) == kaldi.read(many.data(name))
    assert set(kaldi.read(few.data("paired"))) < set(kaldi.read(many.data("paired")))


def test_mixed_rates_stereo_spaces_and_quotes_are_taken(tmp_path, caplog):
    root = corpus(tmp_path / 'it\'s a "corpus" | dir')
    tone(root / "s-00.wav", fs=44100, channels=2)
    tone(root / "s-01.wav", fs=8000)
    exp = experiment(tmp_path / "my exp", root)
    with caplog.at_level(logging.INFO, "cycle"):
        prepare.main(exp)
    assert "1 at 44100 Hz, 2 channels" in caplog.text
    assert not rejected(exp)
    assert check.faults(exp.path) == []


def bad_items(root: Path) -> dict[str, str]:
    """Spoils eight recordings of a corpus in eight ways, and tells the reason expected for each."""
    (root / "b-empty.wav").write_bytes(b"")
    (root / "b-noise.wav").write_bytes(b"RIFFnot a recording")
    soundfile.write(root / "b-zero.wav", np.zeros(0), 16000)
    soundfile.write(root / "b-silent.wav", np.zeros(16000), 16000)
    tone(root / "b-long.wav", 21)
    tone(root / "b-short.wav", 0.1)
    tone(root / "b-latin.wav")
    tone(root / "b-mute.wav")  # no line in the transcript
    texts = {
        "empty": "好",
        "noise": "好",
        "zero": "好",
        "silent": "好",
        "long": "好",
        "short": "我们今天看电影",
        "latin": "卡拉ÕK",
        "nothing": "好",
    }
    with open(root / "text", "a", encoding="utf-8") as handle:
        handle.writelines(f"b-{key} {text}\n" for key, text in texts.items())
    return {
        "b-empty": "empty file",
        "b-noise": "unreadable audio",
        "b-zero": "zero length",
        "b-silent": "silent",
        "b-long": "longer than 20 s",
        "b-short": "too short for its text",
        "b-latin": "character without reading",
        "b-mute": "audio without text",
        "b-nothing": "text without audio",
    }


def test_a_few_bad_items_are_listed_and_the_rest_goes_on(tmp_path, caplog):
    root = corpus(tmp_path / "c")
    expected = bad_items(root)
    exp = experiment(tmp_path / "exp", root)
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert rejected(exp) == expected
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "left out 9 of 24 items" in warnings[0] and "1 silent" in warnings[0] and "rejected.tsv" in warnings[0]
    assert check.faults(exp.path) == []
    assert "'Õ' (U+00D5" in (exp.path / "data" / "rejected.tsv").read_text(encoding="utf-8")


def test_the_list_goes_when_the_corpus_is_mended(tmp_path):
    root = corpus(tmp_path / "c")
    bad_items(root)
    exp = experiment(tmp_path / "exp", root)
    prepare.main(exp)
    for path in root.glob("b-*"):
        path.unlink()
    corpus(root)
    prepare.main(exp)
    assert not (exp.path / "data" / "rejected.tsv").exists()


def test_duplicate_ids_are_left_out_both(tmp_path):
    root = corpus(tmp_path / "c")
    with open(root / "text", "a", encoding="utf-8") as handle:
        handle.write("s-03 你好\n")
    exp = experiment(tmp_path / "exp", root, paired=2)
    prepare.main(exp)
    assert rejected(exp) == {"s-03": "duplicate id"}


def fails(exp, message: str) -> None:
    """One line, and no pool half-written."""
    with pytest.raises(UserError, match=message) as caught:
        prepare.main(exp)
    assert "\n" not in str(caught.value)
    assert not any(exp.data(name).exists() for name in POOLS)
    assert not exp.oracle.exists()
    assert not list(exp.path.rglob("*.tmp"))


def test_mostly_bad_is_an_error_with_the_list(tmp_path):
    root = corpus(tmp_path / "c")
    for n in range(6):
        (root / f"s-{n:02d}.wav").write_bytes(b"")
    exp = experiment(tmp_path / "exp", root)
    fails(exp, r"rejected\.tsv: 6 of 10 items of 'all' cannot be used \(6 empty file\); mend")
    assert len(rejected(exp)) == 6


def test_missing_folder(tmp_path):
    fails(experiment(tmp_path / "exp", tmp_path / "nowhere"), "nowhere: no such folder; .*--data DIR")


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    fails(experiment(tmp_path / "exp", tmp_path / "file"), "is no folder")


def test_empty_folder(tmp_path):
    (tmp_path / "c").mkdir()
    fails(experiment(tmp_path / "exp", tmp_path / "c"), "c: is empty; .*corpus")


def test_folder_without_a_transcript(tmp_path):
    tone(tmp_path / "c" / "a.wav")
    fails(experiment(tmp_path / "exp", tmp_path / "c"), r"text: cannot be read \(No such file")


def test_transcript_and_nothing_in_it(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "text").write_text("")
    fails(experiment(tmp_path / "exp", tmp_path / "c"), "holds nothing for 'all'")


def test_transcript_that_is_not_utf8(tmp_path):
    root = corpus(tmp_path / "c")
    (root / "text").write_bytes("\n".join(f"s-{n:02d} {text}" for n, text in enumerate(SENTENCES)).encode("gbk"))
    exp = experiment(tmp_path / "exp", root)
    fails(exp, r"20 of 20 items of 'all' cannot be used \(10 (audio without text|is not UTF-8), 10")
    assert f"is not UTF-8\tall\t-\t{root}/text:3" in (exp.path / "data" / "rejected.tsv").read_text(encoding="utf-8")
    (root / "text").write_text("s-00 我喝茶", encoding="utf-16")
    fails(exp, r"text: is UTF-16; save it as UTF-8")


def test_marks_and_line_ends_of_other_systems_are_taken_off(tmp_path):
    root = corpus(tmp_path / "c")
    lines = [f"s-{n:02d}\t{text[:1]}\t {text[1:]}" for n, text in enumerate(SENTENCES)]
    (root / "text").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, "", ""]).encode())
    exp = experiment(tmp_path / "exp", root)
    prepare.main(exp)
    assert not rejected(exp) and check.faults(exp.path) == []
    assert kaldi.read(exp.data("dev"))[0].text.replace(" ", "") in SENTENCES


def test_more_than_there_is(tmp_path):
    fails(experiment(tmp_path / "exp", corpus(tmp_path / "c"), paired=500), "paired 4 of 500|paired [0-9]+ of 500, speech 0 of 3")


def test_a_corpus_that_cannot_be_fetched_asks_for_data(tmp_path, monkeypatch):
    module = prepare.recipe("mini")
    monkeypatch.delattr(module, "fetch")
    monkeypatch.setattr(prepare, "recipe", lambda corpus: module)
    fails(experiment(tmp_path / "exp", None), "cannot be downloaded; .*--data DIR")


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    exp = experiment(tmp_path / "exp", corpus(tmp_path / "c"))
    real = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        prepare.main(exp)
    assert not list(exp.path.rglob("*.tmp"))
    monkeypatch.setattr(os, "fsync", real)
    prepare.main(exp)
    assert check.faults(exp.path) == []


class Recipe:
    """A recipe made of lists."""

    def __init__(self, **splits: list[Utterance]):
        self.SPLITS = tuple(splits)
        self.splits = splits

    def utterances(self, root, split, options):
        return iter(self.splits[split])


def test_official_splits(tmp_path, monkeypatch):
    """AN4's kind: train and test are given; one test sentence is in train as well and must leave it."""
    train = [Utterance(f"u{n}", "s", tone(tmp_path / "c" / f"u{n}.wav"), text) for n, text in enumerate(SENTENCES)]
    wav, other = tone(tmp_path / "c" / "v0.wav"), tone(tmp_path / "c" / "v1.wav")
    test = [Utterance("v0", "s", wav, SENTENCES[0]), Utterance("v1", "s", other, "好")]
    text = [Utterance(f"t{n}", "-", None, text) for n, text in enumerate(["好", *SENTENCES, "你好", "大家好", "谢谢", "再见"])]
    monkeypatch.setattr(prepare, "recipe", lambda corpus: Recipe(train=train, test=test, text=text))
    exp = experiment(tmp_path / "exp", tmp_path / "c")
    prepare.main(exp)
    assert {u.text for u in kaldi.read(exp.data("test"))} == {SENTENCES[0], "好"}
    assert check.faults(exp.path) == []


@pytest.mark.parametrize(
    ("utt", "reason"),
    [
        (Utterance("a b", "s", Path("x"), "好"), "bad id"),
        (Utterance("a/b", "s", Path("x"), "好"), "bad id"),
        (Utterance("ok", "s s", Path("x"), "好"), "bad id"),
        (Utterance("ok", "s", Path("rm -rf x |"), "好"), "bad path (is a pipe, which is never run)"),
        (Utterance("ok", "s", Path("a\nb"), "好"), "bad path (holds a line break)"),
        (Utterance("ok", "s", Path("\udcff.wav"), "好"), "bad path (is not UTF-8)"),
        (Utterance("ok", "s", None, "好"), "text without audio"),
        (Utterance("ok", "s", Path("x"), None), "audio without text"),
        (Utterance("twice", "s", Path("x"), "好"), "duplicate id"),
        (Utterance("ok", "s", Path("x"), "好"), None),
    ],
)
def test_faults_of_form(utt, reason):
    assert form_fault(utt, {"twice"}) == reason
