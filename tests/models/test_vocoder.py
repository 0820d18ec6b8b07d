"""Features made audible are heard as what they were."""

from dataclasses import replace

import numpy as np
import pytest

from cycle.config import load
from cycle.data.features import log_mel
from cycle.models.vocoder import griffin_lim

CONF = load("mini", "cycle", [], "cpu").features


def vowel(seconds: float, fs: int) -> np.ndarray:
    """Harmonics of a falling pitch, the higher the softer."""
    time = np.arange(int(seconds * fs)) / fs
    phase = 2 * np.pi * np.cumsum(160 - 40 * time / seconds) / fs
    return (0.1 * sum(np.sin(n * phase) / n for n in range(1, 30))).astype(np.float32)


@pytest.mark.parametrize("fs", [16000, 24000])
def test_what_is_heard_is_what_was_said(fs):
    conf = replace(CONF, fs=fs)
    feats = log_mel(vowel(1.0, fs), conf)
    samples = griffin_lim(feats, conf)
    assert samples.dtype == np.float32 and len(samples) == (len(feats) - 1) * conf.hop and np.abs(samples).max() <= 0.9
    inside = slice(4, -4)  # not where the sound begins and ends
    heard, other = log_mel(samples, conf), log_mel(vowel(1.0, fs)[::-1], conf)
    assert np.abs(heard - feats)[inside].mean() < 0.25 < 0.4 < np.abs(other - feats)[inside].mean()


def test_equal_features_sound_equal():
    feats = log_mel(vowel(0.3, CONF.fs), CONF)
    np.testing.assert_array_equal(griffin_lim(feats, CONF), griffin_lim(feats, CONF))


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_little_is_heard_too(frames):
    samples = griffin_lim(log_mel(vowel(0.3, CONF.fs), CONF)[:frames], CONF)
    assert len(samples) == (frames - 1) * CONF.hop and np.isfinite(samples).all()


def test_filters_may_be_empty():
    conf = replace(CONF, fs=8000, n_fft=256, hop=64, n_mels=128, fmax=4000.0)
    samples = griffin_lim(log_mel(vowel(0.5, 8000), conf), conf)
    assert np.isfinite(samples).all() and np.abs(samples).max() > 0.01


def test_silence_stays_silent():
    assert np.abs(griffin_lim(np.full((20, CONF.n_mels), -5.0, np.float32), CONF)).max() < 1e-3
