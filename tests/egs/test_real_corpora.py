"""aishell, librispeech, an4, ljspeech: trees in the layout in which each is distributed, made small."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import logging
import tarfile
from pathlib import Path

import pytest

from cycle import check, config, prepare
from cycle.data import kaldi
from cycle.data.types import POOLS
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json
from tests.tiny_corpus import SENTENCES, tone

WORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN"]


def english(number: int) -> str:
    return " ".join(WORDS[int(digit)] for digit in f"{number:03d}")


def aishell(root: Path) -> Path:
    home, rows = root / "data_aishell", ["BAC009S9999W0001 没有 录音"]
    sentences = (f"{a} {b}" for a, b in itertools.product(SENTENCES, repeat=2))
    for split, spks, count in (("train", ("S0002", "S0003"), 20), ("dev", ("S0724",), 4), ("test", ("S0764",), 5)):
        for spk, n in itertools.product(spks, range(count)):
            key = f"BAC009{spk}W{n:04d}"
            tone(home / "wav" / split / spk / f"{key}.wav", 2.5)
            rows.append(f"{key} {next(sentences)}")
    rows[-1] = f"{key} {rows[1].partition(' ')[2]}"  # the last test sentence is said in training
    tone(home / "wav" / "train" / "S0002" / "BAC009S0002W0999.wav")  # no transcript
    (home / "transcript").mkdir()
    (home / "transcript" / "aishell_transcript_v0.8.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def librispeech(root: Path, *subsets: str) -> Path:
    number = 0
    for n, subset in enumerate(subsets):
        for spk, chapter in ((19 + n, 198), (1926 + n, 143879)):
            folder, rows = root / "LibriSpeech" / subset / str(spk) / str(chapter), []
            for line in range(20):
                key, number = f"{spk}-{chapter}-{line:04d}", number + 1
                tone(folder / f"{key}.flac", 21.0 if (subset, line) == ("test-clean", 0) else 2.0)
                rows.append(f"{key} {english(number)}")
            (folder / f"{spk}-{chapter}.trans.txt").write_text("\n".join(rows) + "\n")
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("; not read\n")
    return root


def ljspeech(root: Path) -> Path:
    rows = [f"LJ001-{n:04d}|{n}, “as written”|{english(n).lower()}, “as read”" for n in range(80)]
    for row in rows:
        tone(root / "LJSpeech-1.1" / "wavs" / f"{row.partition('|')[0]}.wav", 2.0, 22050)
    (root / "LJSpeech-1.1" / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def an4(root: Path) -> Path:
    for part, folder, spks in (("train", "an4_clstk", "abcdefghij"), ("test", "an4test_clstk", "xyz")):
        rows, ids = [], []
        for (s, spk), n in itertools.product(enumerate(spks), range(8)):
            key, count = f"an{n}-f{spk}-b", 8 * s + n + (500 if part == "test" else 0)
            tone(root / "an4" / "wav" / folder / f"f{spk}" / f"{key}.wav", 2.0)
            said = "YES" if n == 0 else english(count)
            rows.append(f"<s> {said} </s> ({key})" if part == "train" else f"{said} ({key})")
            ids.append(f"{folder}/f{spk}/{key}")
        (root / "an4" / "etc").mkdir(exist_ok=True)
        (root / "an4" / "etc" / f"an4_{part}.transcription").write_text("\n".join(rows) + "\n")
        (root / "an4" / "etc" / f"an4_{part}.fileids").write_text("\n".join(ids) + "\n")
    return root


ALL = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "test-clean")


def experiment(path: Path, corpus: str, root: Path | None, preset: str = "smoke", *words: str) -> Experiment:
    return Experiment(path, config.load(corpus, "cycle", [f"preset={preset}", *words]), corpus, "cycle", root)


def sizes(exp: Experiment) -> dict[str, int]:
    return {name: len(kaldi.read(exp.data(name))) for name in POOLS}


def spks(exp: Experiment, *names: str) -> set[str]:
    return {u.spk for name in names for u in kaldi.read(exp.data(name))}


def said(exp: Experiment, name: str) -> set[str]:
    return set(kaldi.read_tokens(exp.oracle / "speech" if name == "speech" else exp.data(name)).values())


@pytest.mark.parametrize("inside", ["", "data_aishell"])
def test_aishell(tmp_path, caplog, inside):
    exp = experiment(tmp_path / "exp", "aishell", aishell(tmp_path / "c") / inside)
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert sizes(exp) == {"paired": 13, "speech": 13, "text": 13, "dev": 4, "test": 5}
    told = caplog.text
    assert "'train' holds 40 utterances with their text, the full corpus 120098" in told and "the full corpus 7176" in told
    assert "left out 1 of 50 items (1 audio without text)" in told
    assert spks(exp, "paired", "speech") == {"S0002", "S0003"} and spks(exp, "test") == {"S0764"}
    assert check.faults(exp.path) == []
    assert not said(exp, "text") & (said(exp, "dev") | said(exp, "test") | said(exp, "speech"))
    assert read_json(exp.path / "data/summary.json")["official"] == ["dev", "test"]


def test_what_aishells_sets_share_with_training_is_counted(tmp_path, caplog):
    exp = experiment(tmp_path / "exp", "aishell", aishell(tmp_path / "c"), "smoke", "pools.speech=40", "pools.text=1", "pools.paired=40")
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert "training shares the text of 1 and the speaker of 0 of the 5 utterances of test" in caplog.text
    assert (exp.path / "data/shared.tsv").read_text() == "set\tutt\tshared\ntest\tBAC009S0764W0004\ttext\n"
    assert check.faults(exp.path) == []


def test_aishell_in_its_archives_asks_to_unpack_them(tmp_path):
    root = aishell(tmp_path / "c")
    (root / "data_aishell/wav/train").rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"wav/train: no such folder; unpack the archives in wav/ first"):
        prepare.main(experiment(tmp_path / "exp", "aishell", root))


def test_aishell_is_unpacked_twice(tmp_path):
    """An archive of archives, one a speaker; read from the disk here."""
    root = aishell(tmp_path / "c")
    for folder in list((root / "data_aishell/wav").glob("*/*")):
        with tarfile.open(root / "data_aishell/wav" / f"{folder.name}.tar.gz", "w:gz") as archive:
            archive.add(folder, f"{folder.parent.name}/{folder.name}")
    for split in ("train", "dev", "test"):
        (root / "data_aishell/wav" / split).rename(tmp_path / split)
    with tarfile.open(tmp_path / "data_aishell.tgz", "w:gz") as archive:
        archive.add(root / "data_aishell", "data_aishell")
    exp = experiment(tmp_path / "exp", "aishell", None)
    sums = {"data_aishell.tgz": hashlib.sha256((tmp_path / "data_aishell.tgz").read_bytes()).hexdigest()}
    exp.config.corpus.options |= {"url": tmp_path.as_uri(), "checksums": sums}
    prepare.main(exp)
    assert sizes(exp)["test"] == 5
    assert not list(exp.path.rglob("*gz"))


@pytest.mark.parametrize("inside", ["", "LibriSpeech"])
def test_librispeech(tmp_path, caplog, inside):
    exp = experiment(tmp_path / "exp", "librispeech", librispeech(tmp_path / "c", *ALL) / inside, "smoke", "pools.test=null")
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert sizes(exp) == {"paired": 24, "speech": 24, "text": 40, "dev": 8, "test": 40}  # none of test is left out for its length
    assert spks(exp, "paired") == {"19", "1926"} and spks(exp, "speech") == {"20", "1927"}
    assert "'paired' holds 40 utterances with their text, the full corpus 28539" in caplog.text
    assert check.faults(exp.path) == []
    assert exp.config.corpus.language == "letters" and "o n e" in " ".join(said(exp, "test"))


def test_librispeech_prefers_the_text_of_other_books(tmp_path):
    root = librispeech(tmp_path / "c", *ALL)
    with gzip.open(root / "librispeech-lm-norm.txt.gz", "wt") as handle:
        handle.writelines(f"{english(n)} AGAIN\n" for n in range(1000) for _ in range(2))
    exp = experiment(tmp_path / "exp", "librispeech", root, "smoke", "corpus.options.share=0.5")
    prepare.main(exp)
    texts = [u.text or "" for u in kaldi.read(exp.data("text"))]
    assert len(texts) == len(set(texts)) == 48 and all(text.endswith("AGAIN") for text in texts)


def test_part_of_librispeech_will_do(tmp_path):
    root = librispeech(tmp_path / "c", "train-clean-100", "dev-clean", "test-clean")
    for preset in ("smoke", "gpu"):
        exp = experiment(tmp_path / preset, "librispeech", root, preset)
        prepare.main(exp)
        assert all(sizes(exp).values()) and check.faults(exp.path) == []
        assert not said(exp, "paired") & said(exp, "speech")


def test_an4(tmp_path, caplog):
    exp = experiment(tmp_path / "exp", "an4", an4(tmp_path / "c"), "gpu", "pools.text=300")
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert sizes(exp) == {"paired": 16, "speech": 56, "text": 300, "dev": 8, "test": 24}
    assert len(spks(exp, "paired")) == 2 and len(spks(exp, "dev")) == 1
    pools = [spks(exp, name) for name in ("paired", "speech", "dev", "test")]
    assert not any(a & b for a, b in itertools.combinations(pools, 2))
    assert "training shares the text of 3 and the speaker of 0 of the 24 utterances of test" in caplog.text
    assert check.faults(exp.path) == []
    assert not said(exp, "text") & (said(exp, "dev") | said(exp, "test") | said(exp, "speech"))


def test_ljspeech(tmp_path):
    exp = experiment(tmp_path / "exp", "ljspeech", ljspeech(tmp_path / "c"))
    prepare.main(exp)
    assert all(sizes(exp).values()) and spks(exp, "test") == {"lj"}
    assert all("a s | r e a d" in text and "w r i t t e n" not in text for text in said(exp, "paired"))
    assert check.faults(exp.path) == []
    assert not any(said(exp, a) & said(exp, b) for a, b in itertools.combinations(POOLS, 2) if (a, b) != ("paired", "text"))


@pytest.mark.parametrize("corpus", ["aishell", "librispeech", "an4", "ljspeech"])
def test_another_folder_is_refused(tmp_path, corpus):
    tone(tmp_path / "c" / "a.wav")
    with pytest.raises(UserError, match=r"c: holds no .*--data DIR"):
        prepare.main(experiment(tmp_path / "exp", corpus, tmp_path / "c"))
    assert not (tmp_path / "exp" / "data").exists()


@pytest.mark.parametrize("corpus", ["aishell", "librispeech", "ljspeech"])
def test_what_is_downloaded_has_a_checksum_and_a_public_home(corpus):
    options = config.load(corpus, "cycle", []).corpus.options
    assert options["url"].startswith("https://") and options["checksums"]
    assert all(len(checksum) in (32, 64) and int(checksum, 16) for checksum in options["checksums"].values())


SAMPLES = Path(config.ROOT).parent / "shared" / "data"


@pytest.mark.skipif(not (SAMPLES / "data_aishell").is_dir(), reason="no sample of AISHELL beside this clone")
def test_the_sample_of_aishell(tmp_path):
    exp = experiment(tmp_path / "exp", "aishell", SAMPLES)
    prepare.main(exp)
    assert sizes(exp) == {"paired": 40, "speech": 40, "text": 60, "dev": 12, "test": 16}
    assert check.faults(exp.path) == []


@pytest.mark.skipif(not (SAMPLES / "an4").is_dir(), reason="no copy of AN4 beside this clone")
def test_all_of_an4(tmp_path, caplog):
    exp = experiment(tmp_path / "exp", "an4", SAMPLES / "an4", "gpu")
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert "the full corpus" not in caplog.text
    assert sizes(exp) == {"paired": 189, "speech": 668, "text": 4000, "dev": 91, "test": 130}
    assert (len(spks(exp, "paired")), len(spks(exp, "speech")), len(spks(exp, "test"))) == (15, 52, 10)
