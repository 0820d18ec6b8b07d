"""Griffin-Lim, to listen to results; nothing inside the cycle needs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cycle.data.features import unscale
from cycle.settings import Features

# Twice as many, or non-negative least squares for the mel bands, bring the features of recordings hardly nearer.
ITERATIONS = 32


def griffin_lim(feats: NDArray[np.float32], conf: Features) -> NDArray[np.float32]:
    """(T, n_mels) features -> (T - 1) * hop samples at `conf.fs`, peak at most 0.9.

    Griffin and Lim 1984 with the momentum of Perraudin et al. 2013, by torchaudio; phases begin at zero, so equal features sound equal.
    """
    import torch
    from torchaudio.functional import griffinlim

    magnitudes = np.maximum(_from_mel(conf) @ unscale(feats).T, 0.0)
    short = conf.n_fft // 2 // conf.hop + 2 - len(feats)  # torch mirrors half a window at each end
    magnitudes = np.pad(magnitudes, ((0, 0), (0, max(0, short))))
    samples = griffinlim(
        torch.from_numpy(magnitudes), torch.hann_window(conf.n_fft), conf.n_fft, conf.hop, conf.n_fft,
        power=1.0, n_iter=ITERATIONS, momentum=0.99, length=None, rand_init=False,
    ).numpy()[: (len(feats) - 1) * conf.hop]  # fmt: skip
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples * min(1.0, 0.9 / peak) if peak > 0 else samples).astype(np.float32)


def _from_mel(conf: Features) -> NDArray[np.float32]:
    """(n_fft / 2 + 1, n_mels): pseudo-inverse of the mel filters."""
    import librosa

    filters = librosa.filters.mel(sr=conf.fs, n_fft=conf.n_fft, n_mels=conf.n_mels, fmin=conf.fmin, fmax=conf.fmax)
    return np.linalg.pinv(filters).astype(np.float32)
