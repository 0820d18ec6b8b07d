"""The one log-mel, pitch, and the store they are read back from."""

import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import threadpoolctl

from cycle.config import ROOT, load
from cycle.data import features
from cycle.data.features import (
    FeatureStore,
    ShardWriter,
    compute,
    extract,
    log_f0,
    log_mel,
    processes,
    read_audio,
    recording_mel,
    trim,
    unscale,
)
from cycle.data.kaldi import NOBODY
from cycle.data.types import Utterance
from cycle.errors import UserError

CONF = load("mini", "cycle", [], "cpu").features


def tone(hz=220.0, seconds=0.5, fs=16000, level=0.3):
    t = np.arange(int(seconds * fs)) / fs
    return (level * sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 8))).astype(np.float32)


def test_log_mel_agrees_with_torchaudio():
    import torch
    from torchaudio.transforms import MelSpectrogram

    other = MelSpectrogram(
        16000, 1024, 1024, 256, 80.0, 7600.0, n_mels=80, power=1.0, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
    mel = other(torch.from_numpy(tone())).T.numpy()
    np.testing.assert_allclose(log_mel(tone(), CONF), (np.log(np.maximum(mel, 1e-5)) + 6) / 2, atol=2e-3)
    np.testing.assert_allclose(unscale(log_mel(tone(), CONF)), np.maximum(mel, 1e-5), rtol=1e-2, atol=1e-5)


def test_pitch_has_the_mel_s_frames_and_the_right_height():
    for hz in (110.0, 220.0, 330.0):
        f0 = log_f0(tone(hz), CONF)
        assert len(f0) == len(log_mel(tone(hz), CONF)) == 8000 // 256 + 1
        assert np.exp(np.median(f0)) == pytest.approx(hz, rel=0.03)
    assert np.isfinite(log_f0(np.zeros(4000, np.float32), CONF)).all()


@pytest.mark.parametrize("fs", [8000, 22050, 44100])
def test_rates_and_channels_become_one(tmp_path, fs):
    file = tmp_path / 'it\'s a "file" 中.wav'
    soundfile.write(file, np.stack([tone(fs=fs)] * 2, axis=1), fs)
    samples = read_audio(file, 16000)
    assert samples.ndim == 1 and abs(len(samples) - 8000) < 20
    assert np.exp(np.median(extract(file, CONF)[1])) == pytest.approx(220, rel=0.03)


def test_silence_is_trimmed_at_the_ends_only():
    gap = np.zeros(8000, np.float32)
    samples = np.concatenate([gap, tone(), gap, tone(), gap])
    assert abs(len(trim(samples, CONF)) - 24000) < 3000
    assert len(trim(samples, replace(CONF, trim_db=None))) == len(samples)


def test_unreadable_audio_is_named(tmp_path):
    for content in (b"", b"no audio at all"):
        (tmp_path / "x.wav").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.wav: cannot be read as audio"):
            recording_mel(tmp_path / "x.wav", CONF)


def test_store_returns_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    rows = {f"u{i}": rng.normal(size=(5 + i, 80)).astype(np.float32) for i in range(5)}
    for number, names in enumerate((["u0", "u1"], ["u2", "u3", "u4"])):
        writer = ShardWriter(tmp_path, number)
        assert not writer.done
        for name in names:
            feats = np.asfortranarray(rows[name])  # as mels come: transposed
            writer.add(name, feats, rows[name][:, 0], spk="s")
        writer.close()
        assert writer.done
    store = FeatureStore(tmp_path)
    assert len(store) == 5 and store.frames.tolist() == [5, 6, 7, 8, 9]
    for name, feats in rows.items():
        i = store.table.column("utt").index(name)
        np.testing.assert_allclose(store.feats(i), feats, atol=2e-3)
        np.testing.assert_allclose(store.f0(i), feats[:, 0], atol=2e-3)
    batch = np.zeros((4, 20, 80), np.float16)
    store.read(np.array([2, 0]), batch, [3, 1])
    for place, row in ((3, 2), (1, 0)):
        frames = len(store.feats(row))
        np.testing.assert_array_equal(batch[place, :frames], store.feats(row))
        assert not batch[place, frames:].any()
    assert not batch[[0, 2]].any()
    both = FeatureStore(tmp_path, tmp_path)
    np.testing.assert_array_equal(both.feats(7), store.feats(2))
    assert both.frames.tolist() == store.frames.tolist() * 2


def test_a_shard_without_utterances_says_nothing_of_the_others(tmp_path):
    ShardWriter(tmp_path, 0).close()
    writer = ShardWriter(tmp_path, 1)
    writer.add("u", np.ones((5, 80), np.float32), np.full(5, 2.0, np.float32), spk="s")
    writer.close()
    store = FeatureStore(tmp_path)
    assert store.feats(0).shape == (5, 80) and store.feats(0).all() and store.f0(0).tolist() == [2.0] * 5
    with pytest.raises(AssertionError, match="does not fit"):
        store.read(np.array([0]), np.zeros((1, 4, 80), np.float16), [0])


def test_a_recording_of_nobody_known_is_a_voice_by_itself(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    said = [(Utterance(utt, spk, tmp_path / "a.wav", None), "") for utt, spk in (("u1", NOBODY), ("u2", "anna"), ("u3", NOBODY))]
    with processes(1, CONF) as workers:
        assert list(compute(tmp_path / "feats", said, CONF, workers)) == [[]]
    assert list(FeatureStore(tmp_path / "feats").table.column("spk")) == ["u1", "anna", "u3"]


def test_a_process_for_audio_computes_in_one_thread(monkeypatch):
    for library in ("OPENBLAS", "OMP", "MKL"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "2")
    with processes(1, CONF) as workers:
        found = workers.submit(threadpoolctl.threadpool_info).result()
    assert found and {library["num_threads"] for library in found} == {1}


COLD = """
import sys
from pathlib import Path
from cycle.config import load
from cycle.data.features import compute, processes
from cycle.data.types import Utterance
if __name__ == "__main__":
    conf, folder = load("mini", "cycle", []).features, Path(sys.argv[1])
    with processes(2, conf) as workers:
        made = sorted((folder / "compiled").rglob("*.nb?"))
        list(compute(folder / "feats", [(Utterance("u", "s", folder / "a.wav", None), "")], conf, workers))
    assert made and made == sorted((folder / "compiled").rglob("*.nb?"))
"""


@pytest.mark.all
def test_one_process_compiles_for_all(tmp_path):
    """Several that keep the same compiled functions on disk at once may crash."""
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    (tmp_path / "cold.py").write_text(COLD)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "compiled"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(tmp_path / "cold.py"), str(tmp_path)], env=env, check=True)


def test_what_was_begun_is_not_finished_after_a_mistake():
    with pytest.raises(UserError), processes(1, CONF) as workers:
        jobs = [workers.submit(time.sleep, 0.2) for _ in range(20)]
        jobs[0].result()
        raise UserError("no recording of the pool could be used")
    assert jobs[-1].cancelled()


def test_token_means_by_hand():
    import torch

    from cycle.data.types import Speech
    from cycle.models.fastspeech import prosody, token_mean

    values = torch.tensor([[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 8.0, 0.0]])
    durations = torch.tensor([[1, 3, 0], [2, 0, 1]])
    assert token_mean(values, durations).tolist() == [[1.0, 5.0, 0.0], [2.0, 0.0, 8.0]]
    pitch, energy = prosody(Speech(values[..., None], torch.tensor([4, 3])), values, durations, (1.0, 2.0), (0.0, 1.0))
    assert pitch[0, :, 0].tolist() == [0.0, 2.0, 0.0] and energy[1, :, 0].tolist() == [2.0, 0.0, 8.0]


def test_threads_read_what_they_asked_for(tmp_path, monkeypatch):
    """Many files, few of which may be open: a file that one thread pushes out of the cache is not closed under the other."""
    monkeypatch.setattr(features, "OPEN", 2)
    for number in range(8):
        writer = ShardWriter(tmp_path, number)
        for n in range(4):
            writer.add(f"{number}-{n}", np.full((3, 2), 10 * number + n, np.float32), np.full(3, number, np.float32), spk="s", text="a")
        writer.close()
    store = FeatureStore(tmp_path)

    def read(seed, store=store):
        places = np.random.default_rng(seed).integers(len(store), size=4000).tolist()
        return all((store.feats(i) == 10 * (i // 4) + i % 4).all() and (store.f0(i) == i // 4).all() for i in places)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(read, range(3)))
    opened = len(os.listdir("/proc/self/fd"))
    del store, read
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == opened - 2  # nobody is left who knows them
