"""What stage 3 leaves in `voices/`: a vector for each speaker of both pools, whatever is there already."""

import logging

import numpy as np
import pytest
import torch

from cycle.config import load
from cycle.data.features import FeatureStore, ShardWriter
from cycle.data.types import Speech
from cycle.device import fabric
from cycle.experiment import Experiment
from cycle.voices import find_voices, load_encoder

POOLS = {"paired": ["b", "a", "b"], "speech": ["c", "speech-1", "a"], "dev": ["a", "z", "z"]}  # speech-1: nobody known, under its own id


ONE_VOICE = {"paired": ["a", "a"], "speech": [], "dev": ["a"]}


def corpus(folder, pools=POOLS):
    rng = np.random.default_rng(0)
    for pool, spks in pools.items():
        (folder / "feats" / pool).mkdir(parents=True)
        writer = ShardWriter(folder / "feats" / pool, 0)
        for n, spk in enumerate(spks):
            writer.add(f"{pool}-{n}", rng.normal(size=(20 + n, 80)).astype(np.float32), spk=spk, text="x")
        writer.close()
    return experiment(folder)


def experiment(folder):
    return Experiment(folder, load("mini", "cycle", ["preset=smoke", "voices.updates=4"], "cpu"), "mini", "cycle")


def test_a_vector_for_each_speaker(tmp_path, caplog):
    exp, cpu = corpus(tmp_path), fabric("cpu", "32")
    with caplog.at_level(logging.INFO, "cycle"):
        find_voices(exp, cpu)
    assert "4 voices" in caplog.text and "training heard 1 of dev's 2 speakers" in caplog.text
    speakers, vectors = np.load(exp.voices / "speakers.npy"), np.load(exp.voices / "vectors.npy")
    assert list(speakers) == ["a", "b", "c", "speech-1"]
    encoder, heard = load_encoder(exp, torch.device("cpu")), {}
    for pool in ("paired", "speech"):
        store = FeatureStore(exp.feats(pool))
        for n, spk in enumerate(POOLS[pool]):
            feats = torch.from_numpy(np.array(store.feats(n), np.float32))[None]
            heard.setdefault(spk, []).append(encoder.embed(Speech(feats, torch.tensor([feats.size(1)])))[0].numpy())
    for spk, vector in zip(speakers, vectors, strict=True):
        mean = np.mean(heard[spk], axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=2e-3)


@pytest.mark.parametrize("lost", ["speakers.npy", "vectors.npy", "model.pth"])
def test_what_a_kill_leaves_is_completed(tmp_path, lost):
    exp, cpu = corpus(tmp_path), fabric("cpu", "32")
    find_voices(exp, cpu)
    before = {p.name: p.read_bytes() for p in exp.voices.glob("*.npy")}
    (exp.voices / lost).unlink()
    (exp.voices / "state").mkdir()
    find_voices(exp, cpu)
    assert {p.name: p.read_bytes() for p in exp.voices.glob("*.npy")} == before
    assert (exp.voices / "model.pth").exists() and not (exp.voices / "state").exists()


def test_one_voice_needs_no_encoder(tmp_path):
    exp = corpus(tmp_path, ONE_VOICE)
    find_voices(exp, fabric("cpu", "32"))
    assert [p.name for p in exp.voices.iterdir()] == ["speakers.npy"] and list(np.load(exp.voices / "speakers.npy")) == ["a"]
