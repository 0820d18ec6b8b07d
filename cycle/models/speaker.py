"""Who speaks, told from the log-mel alone: no network, and so nothing that training could fool by its weights.

The long-term average spectrum is an old speaker feature (Furui, Itakura & Saito 1972; Kinnunen et al. 2006). It is coarse: it tells voices
and channels apart, not twins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cycle.data.batch import within
from cycle.data.types import Speech


def long_term_spectrum(speech: Speech) -> Tensor:
    """(B, 2 M) mean and standard deviation of each mel band over an utterance's frames, with gradient.

    From each half the mean over bands is taken away: loudness says nothing about the speaker.
    """
    feats = speech.feats.float()
    inside = within(speech.lengths, feats.size(1))[..., None]
    frames = speech.lengths.clamp(min=1)[:, None]
    mean = (feats * inside).sum(1) / frames
    variance = ((feats - mean[:, None]) ** 2 * inside).sum(1) / frames
    halves = (mean, (variance + 1e-6).sqrt())
    return torch.cat([half - half.mean(-1, keepdim=True) for half in halves], dim=-1)
