"""scenes and clotho: what is heard and how it is put, and a tree in the layout in which Clotho is distributed."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from cycle import check, config, prepare
from cycle.data import kaldi
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json
from local import scenes, sevenzip
from local.scene_grammar import SUSTAINED, WORDS, captions, scene
from local.sound_events import EVENTS, FS, sound
from tests.tiny_corpus import tone

CAPTIONS = ["A dog, barking", 'Someone says "stop"', "Rain\nfalls", "Der Wind weht über die Brücke", "A bell"]


def experiment(path: Path, corpus: str, root: Path | None = None, *words: str) -> Experiment:
    return Experiment(path, config.load(corpus, "caption", ["preset=smoke", *words]), corpus, "caption", root)


def test_the_grammar_is_large_and_its_wordings_differ() -> None:
    assert set(WORDS) == set(EVENTS) and set(SUSTAINED) < set(WORDS)
    made = [scenes.clip("paired", n, 1) for n in range(300)]
    assert all(len(set(clip.captions)) == 5 for clip in made)
    assert len({text for clip in made for text in clip.captions}) > 1200
    assert {len(clip.scene.events) for clip in made} == {1, 2, 3} and {clip.scene.behind is None for clip in made} == {True, False}
    assert {event.level for clip in made for event in clip.scene.events} == {"loud", "plain", "faint"}
    assert len({word for clip in made for text in clip.captions for word in text.split()}) > 120


def test_what_comes_first_is_told_first_unless_the_words_say_otherwise() -> None:
    chance = random.Random(3)
    for _ in range(400):
        heard = scene(chance)
        names = [set(WORDS[event.name][0]) for event in heard.events]
        for text in captions(heard, chance):
            places = [min((text.find(s) for s in subjects if s in text), default=-1) for subjects in names]
            if heard.behind or " after " in text or min(places) < 0 or any(a & b for a in names for b in names if a is not b):
                continue  # the same subject may stand for another event
            assert places == sorted(places), (heard, text)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_sound_is_heard_and_keeps_its_length(name: str) -> None:
    for times in (1, 3):
        wave = sound(name, np.random.default_rng(2), 1.2, times)
        assert len(wave) == round(1.2 * FS) and np.isfinite(wave).all() and np.abs(wave).max() == pytest.approx(1.0)
    assert not np.array_equal(wave, sound(name, np.random.default_rng(3), 1.2, 3))


def test_loudness_is_as_told() -> None:
    made = [scenes.clip("paired", n, 1) for n in range(200)]
    peaks = {level: [float(np.abs(scenes.mix(c.scene, c.seed)).max()) for c in made
                     if c.scene.behind is None and {e.level for e in c.scene.events} == {level}] for level in scenes.GAIN}  # fmt: skip
    assert max(peaks["faint"]) < min(peaks["plain"]) and max(peaks["plain"]) < min(peaks["loud"]) <= 1


def test_scenes_at_smoke_size(tmp_path: Path) -> None:
    exp = experiment(tmp_path / "exp", "scenes")
    prepare.main(exp)
    assert check.faults(exp.path) == []
    references = kaldi.read_references(exp.data("paired"))
    assert len(references) == 60 and all(len(texts) == 5 for texts in references.values())
    assert kaldi.read_tokens(exp.data("paired")) == {clip: texts[0] for clip, texts in references.items()}
    assert {u.spk for u in kaldi.read(exp.data("test"))} == {kaldi.NOBODY} and kaldi.read(exp.data("speech")) == []
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (exp.path / "corpus").rglob("*.wav")}
    other = experiment(tmp_path / "other", "scenes", None, "pools.paired=61")
    prepare.main(other)  # a larger corpus begins with the smaller one
    assert digests.items() < {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (other.path / "corpus").rglob("*.wav")}.items()


def clotho(root: Path, places: tuple[str, str] = ("", "")) -> Path:
    """24, 6 and 12 clips; names with spaces and brackets, captions with quotes, commas, line breaks and other scripts, some empty."""
    for name, count in (("development", 26), ("validation", 6), ("evaluation", 12)):
        rows = ["file_name,caption_1,caption_2,caption_3,caption_4,caption_5"]
        for n in range(count):
            file = f"{name} (sound) {n:02d}.wav"
            tone(root / places[0] / name / file, 1.5, 44100, peak=0.4)
            texts = [f"{text} {name} {n}" for text in CAPTIONS]
            if n == 1:
                texts[:2] = ["", "  "]  # the third stands for the clip
            if n == 2:
                texts[1:] = [""] * 4  # one reference alone
            if n == 25:
                texts = [""] * 5
            rows.append(",".join([file, *('"' + text.replace('"', '""') + '"' for text in texts)]))
        (root / places[1]).mkdir(parents=True, exist_ok=True)
        (root / places[1] / f"clotho_captions_{name}.csv").write_bytes("\r\n".join([*rows, ""]).encode())
    return root


@pytest.mark.parametrize("places", [("", ""), ("clotho_audio_files", "clotho_csv_files")])
def test_clotho(tmp_path: Path, places: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    exp = experiment(tmp_path / "exp", "clotho", clotho(tmp_path / "c", places))
    with caplog.at_level("WARNING", "cycle"):
        prepare.main(exp)
    assert check.faults(exp.path) == []
    told = read_json(exp.path / "data/summary.json")
    assert {name: pool["utterances"] for name, pool in told["pools"].items()} == {
        "paired": 24,
        "speech": 0,
        "text": 0,
        "dev": 6,
        "test": 12,
    }
    assert "'paired' holds 25 utterances with their text, the full corpus 3839" in caplog.text
    references = kaldi.read_references(exp.data("test"))
    assert references["evaluation_(sound)_00"] == [
        "a dog barking evaluation 0", "someone says stop evaluation 0", "rain falls evaluation 0",
        "der wind weht über die brücke evaluation 0", "a bell evaluation 0",
    ]  # fmt: skip
    assert len(references["evaluation_(sound)_01"]) == 3 and len(references["evaluation_(sound)_02"]) == 1
    assert kaldi.read_tokens(exp.data("test"))["evaluation_(sound)_01"] == "rain falls evaluation 1"


def test_clotho_asks_for_what_is_missing(tmp_path: Path) -> None:
    root = clotho(tmp_path / "c")
    (root / "development").rename(tmp_path / "gone")
    with pytest.raises(UserError, match="development"):
        prepare.main(experiment(tmp_path / "a", "clotho", root))
    (tmp_path / "gone").rename(root / "development")
    (root / "clotho_captions_validation.csv").write_text("file_name,caption_1\nx.wav,a,b\n")
    with pytest.raises(UserError, match=r"clotho_captions_validation.csv:2: the row has 3 fields"):
        prepare.main(experiment(tmp_path / "b", "clotho", root))


def test_seven_zip_is_unpacked_by_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, programs = tmp_path / "clotho_audio_development.7z", tmp_path / "bin"
    archive.write_bytes(b"7z")
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UserError, match="no program here reads it; install 7z"):
        sevenzip.unpack(archive, "development")
    tool = programs / "7z"
    tool.write_text("#!/bin/sh\necho damaged >&2\nexit 2\n")
    tool.chmod(0o755)
    with pytest.raises(UserError, match=r"cannot be unpacked \(damaged\)"):
        sevenzip.unpack(archive, "development")
    assert list(tmp_path.glob("*development*")) == [archive]
    tool.write_text('#!/bin/sh\nfor word; do case $word in -o*) /bin/mkdir "${word#-o}/development";; esac; done\n')
    assert sevenzip.unpack(archive, "development") == tmp_path / "development" and (tmp_path / "development").is_dir()
