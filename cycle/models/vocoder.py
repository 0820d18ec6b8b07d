"""Griffin-Lim, to listen to results; nothing inside the cycle needs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cycle.data.features import unscale
from cycle.settings import Features


def griffin_lim(feats: NDArray[np.float32], conf: Features, iterations: int = 60) -> NDArray[np.float32]:
    """(T, n_mels) features -> samples at `conf.fs`, peak at most 0.9 (Griffin and Lim 1984, through librosa)."""
    import librosa

    spectrum = librosa.feature.inverse.mel_to_stft(
        unscale(feats).T, sr=conf.fs, n_fft=conf.n_fft, power=1.0, fmin=conf.fmin, fmax=conf.fmax
    )
    samples = librosa.griffinlim(spectrum, n_iter=iterations, hop_length=conf.hop, n_fft=conf.n_fft, pad_mode="constant", rng=0)
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples * min(1.0, 0.9 / peak) if peak > 0 else samples).astype(np.float32)
