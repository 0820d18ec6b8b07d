"""Training speech is varied before the recogniser hears it: tempo, the mel axis, loudness, noise.

SpecAugment (in ESPnet's YAML) hides parts of an utterance; this changes all of it. Tempo follows Ko et al. 2015 ("Audio augmentation for
speech recognition"), here without touching pitch; the mel axis Jaitly and Hinton 2013 ("Vocal tract length perturbation"). Both are one
bilinear resampling of the log-mel, each utterance by its own factors, so a batch costs one call on the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cycle.data.batch import within
from cycle.data.types import Speech
from cycle.settings import Augment


def resample(speech: Speech, stretch: Tensor, warp: Tensor) -> Speech:
    """Stretches time and the mel axis; what lies beyond the last mel band repeats it, what lies behind the end is zero.

    Args:
        speech: (B, T, M).
        stretch: (B,) factors of the length; on the host, so that the new size is known without waiting for the device.
        warp: (B,) factors of the mel axis: above 1 moves formants up.

    Returns:
        (B, T', M) with T' = the longest new length, or a little more where lengths are not known on the host; lengths are rounded, at
        least one frame.
    """
    feats = speech.feats
    B, T, M = feats.shape
    known = None if speech.known is None else _stretched(speech.known, stretch)
    out = max(1, math.ceil(T * float(stretch.max()))) if known is None else int(known.max())
    stretch, warp = stretch.to(feats.device, non_blocking=True), warp.to(feats.device, non_blocking=True)
    new = _stretched(speech.lengths, stretch) if known is None else known.to(feats.device, non_blocking=True)
    time = (torch.arange(out, device=feats.device) + 0.5) / stretch[:, None]  # (B, T'), in frames of the original
    band = (torch.arange(M, device=feats.device) + 0.5) / warp[:, None]  # (B, M), in its mel bands
    grid = torch.stack([
        (2 * band / M - 1)[:, None, :].expand(B, out, M),
        (2 * time / T - 1)[:, :, None].expand(B, out, M),
    ], dim=-1)  # fmt: skip
    made = torch.nn.functional.grid_sample(feats[:, None].float(), grid, padding_mode="border", align_corners=False)[:, 0]
    inside = within(new, out)
    return Speech((made * inside[..., None]).to(feats.dtype), new, known)


def _stretched(lengths: Tensor, stretch: Tensor) -> Tensor:
    return (lengths * stretch).round().long().clamp(min=1)


def vary(speech: Speech, conf: Augment) -> Speech:
    """One random variation of each utterance; the speech itself where nothing is to be varied."""
    if not conf.any:
        return speech
    device, B = speech.feats.device, speech.feats.size(0)

    def factors(spread: float) -> Tensor:
        return 1 + spread * (2 * torch.rand(B) - 1)

    if conf.speed or conf.warp:
        speech = resample(speech, factors(conf.speed), factors(conf.warp))
    feats = speech.feats
    if conf.gain:
        feats = feats + conf.gain * torch.randn((B, 1, 1), device=device)
    if conf.noise:
        feats = feats + conf.noise * torch.rand((B, 1, 1), device=device) * torch.randn_like(feats)
    inside = within(speech.lengths, feats.size(1))
    return Speech(feats * inside[..., None], speech.lengths, speech.known)
