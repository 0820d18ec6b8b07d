from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
import soundfile

from cycle import check, config, prepare
from cycle.data import g2p, kaldi, pool
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.yaml_file import read_yaml
from local import espeak
from local.closed_world import LONGEST, sentences
from tests.tiny_corpus import OPTIONS, experiment

TONES = {"1": "55", "2": "35", "3": "214", "4": "51", "5": "11"}


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_the_world_is_large_and_closed():
    world = sentences()
    spell = spelling("cmn").spell
    tokens = [" ".join(spell(sentence)) for sentence in world]
    syllables = {unit for t in tokens for unit in g2p.syllables(t.split())}
    assert len(set(tokens)) == len(world) >= 5000
    assert 60 <= len(syllables) <= 90
    assert {len(sentence) for sentence in world} == set(range(3, LONGEST + 1))
    assert tokens == sorted(tokens, key=pool.rank)


def test_espeak_reads_what_the_models_are_told():
    """Every syllable keeps its tone, alone and behind any other: no sandhi, no dictionary, no spelling in English."""
    syllables = sorted({s for sentence in sentences() for s in g2p.numbered(sentence)})

    def read(voice: espeak.Espeak) -> None:
        voice.voice("cmn-latn-pinyin")
        for before in ("", "ni3 ", "bu4 ", "yi1 "):
            for syllable in syllables:
                phonemes = voice.phonemes(before + syllable).split("|")[-2]
                assert "(" not in phonemes, syllable
                digits = "".join(c for c in phonemes if c.isdigit())
                assert digits == TONES[syllable[-1]], (before, syllable, phonemes)

    espeak.with_espeak(read)


def test_the_whole_corpus_at_smoke_size(tmp_path):
    conf = read_yaml(config.ROOT / "egs/mini/conf.yaml")
    sizes = conf["presets"]["smoke"]["pools"]
    exp = experiment(tmp_path / "exp", None, options=conf["corpus"]["options"], **sizes)
    prepare.main(exp)
    assert check.faults(exp.path) == []
    utts = kaldi.read(exp.data("speech")) + kaldi.read(exp.data("paired"))
    assert {u.spk for u in utts} == set(conf["corpus"]["options"]["voices"])
    assert len({u.spk for u in utts}) >= 6
    assert all(0.4 < (u.seconds or 0) < 4 for u in utts)
    test = kaldi.read_tokens(exp.data("test"))
    assert len(set(test.values())) == sizes["test"]
    before = digests(exp.path / "corpus")
    stamp = (exp.path / "corpus" / "corpus.json").stat().st_mtime_ns
    prepare.main(exp)
    assert digests(exp.path / "corpus") == before
    assert (exp.path / "corpus" / "corpus.json").stat().st_mtime_ns == stamp  # kept, not made again


def test_the_same_bytes_every_time(tmp_path):
    """Also a second later: some of espeak's voices take the time of day into the noise of their breath."""
    voices = read_yaml(config.ROOT / "egs/mini/conf.yaml")["corpus"]["options"]["voices"]
    jobs = [
        espeak.casual(f"{n}", text, " ".join(g2p.numbered(text)), [voice], 1) for n, text in enumerate(sentences()[:3]) for voice in voices
    ]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        espeak.speak_all(jobs, tmp_path / name)
        time.sleep(1.1)
    assert len(digests(tmp_path / "a")) == 3 * len(voices)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert soundfile.info(tmp_path / "a" / jobs[0].wav).samplerate == 22050


def test_voice_and_speed_hang_on_sentence_and_seed():
    a, b, c = (espeak.casual("0", text, "", OPTIONS["voices"], seed) for text, seed in (("我", 1), ("我", 1), ("我", 2)))
    assert a == b != c


def test_more_pairs_are_made_without_moving_the_rest(tmp_path):
    few, many = (experiment(tmp_path / str(n), None, paired=n, speech=5, text=8, dev=2, test=4) for n in (4, 8))
    prepare.main(few)
    prepare.main(many)
    for name in ("paired", "speech", "text", "dev", "test"):
        here, there = (set(kaldi.read_tokens(e.oracle / "speech" if name == "speech" else e.data(name)).values()) for e in (few, many))
        assert here < there if name == "paired" else here == there


def test_more_than_the_world_holds_is_told_at_once(tmp_path):
    with pytest.raises(UserError, match=r"mini has \d+ sentences, 9006 recordings are asked for; set smaller sizes"):
        prepare.main(experiment(tmp_path / "exp", None, paired=9000))
    assert not (tmp_path / "exp").exists()


def test_a_killed_fetch_leaves_no_corpus(tmp_path, monkeypatch):
    exp = experiment(tmp_path / "exp", None)
    module = prepare.recipe("mini")

    def killed(jobs, folder):
        (folder / "half.wav").write_bytes(b"RIFF")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "speak_all", killed)
    monkeypatch.setattr(prepare, "recipe", lambda corpus: module)
    with pytest.raises(KeyboardInterrupt):
        prepare.main(exp)
    assert not list(exp.path.iterdir())


def test_without_the_package_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(espeak.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"espeakng-loader is missing; .*install"):
        espeak.speak_all([], tmp_path)


def test_a_full_disk_is_reported_as_one(tmp_path, monkeypatch):
    program = tmp_path / "full.py"
    program.write_text("import sys; sys.exit(28)")
    monkeypatch.setattr(espeak, "__file__", str(program))
    with pytest.raises(OSError, match="No space left"):
        espeak.speak_all([], tmp_path)
