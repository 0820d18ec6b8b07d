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
    from torchaudio.transforms import InverseMelScale

    # Slaney's filters are librosa's. gelsd: a filter so narrow that it is empty does no harm.
    invert = InverseMelScale(conf.n_fft // 2 + 1, conf.n_mels, conf.fs, conf.fmin, conf.fmax, "slaney", "slaney", "gelsd")
    short = conf.n_fft // 2 // conf.hop + 2 - len(feats)  # torch mirrors half a window at each end
    magnitudes = torch.nn.functional.pad(invert(torch.from_numpy(unscale(feats).T.copy())), (0, max(0, short)))
    samples = griffinlim(
        magnitudes, torch.hann_window(conf.n_fft), conf.n_fft, conf.hop, conf.n_fft,
        power=1.0, n_iter=ITERATIONS, momentum=0.99, length=None, rand_init=False,
    ).numpy()[: (len(feats) - 1) * conf.hop]  # fmt: skip
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples * min(1.0, 0.9 / peak) if peak > 0 else samples).astype(np.float32)
