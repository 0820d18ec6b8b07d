"""ESPnet's ASR encoders, and its SpecAugment before them, without the questions they ask the device.

`encode` of an ESPnet model asks for lengths seven times, to cut and to check what is cut and checked already; the host waits for each
answer, with nothing queued behind it.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from cycle.data.batch import within
from cycle.data.types import Speech
from cycle.models.espnet import MaskAlongAxis, MaskAlongAxisVariableMaxWidth, SpecAug


def augmented(model: Any, speech: Speech) -> Speech:
    """What the encoder of an ESPnet model hears: no padding behind the longest utterance; in training, parts are hidden (SpecAugment)."""
    if not is_plain(model):
        return speech  # `encode` does it
    if speech.known is not None:
        speech = Speech(speech.feats[:, : int(speech.known.max())], speech.lengths, speech.known)
    return spec_augment(speech, model.specaug) if model.training and model.specaug is not None else speech


def encode(model: Any, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """What ESPnet's `encode` computes of what `augmented` returns.

    Args:
        model: an ESPnet ASR model.
        feats: (B, T, M); lengths: (B,) frames.

    Returns:
        (B, T', D) outputs, (B,) their lengths, and the outputs of inner layers that have a CTC loss of their own.
    """
    if is_plain(model):
        behind = ~within(lengths, feats.size(1))
        given = {"ctc": model.ctc} if getattr(model.encoder, "interctc_use_conditioning", False) else {}
        out, sizes, _ = model.encoder(feats, lengths, masks=behind, **given)
    else:
        order = lengths.argsort(descending=True)  # recurrent encoders pack their sequences
        out, sizes = model.encode(feats[order], lengths[order])
        back = order.argsort()
        whole, inner = out if isinstance(out, tuple) else (out, [])
        return whole[back], sizes[back], [layer[back] for _, layer in inner]
    out, inner = out if isinstance(out, tuple) else (out, [])
    return out, sizes, [layer for _, layer in inner]


def is_plain(model: Any) -> bool:
    """Whether the encoder of an ESPnet model is all there is before its losses, and takes masks."""
    others = (model.frontend, model.normalize, model.preencoder, model.postencoder)
    takes = inspect.signature(model.encoder.forward).parameters if model.encoder is not None else {}
    return others == (None, None, None, None) and "masks" in takes and not getattr(model.encoder, "ctc_trim", False)


def spec_augment(speech: Speech, conf: Any) -> Speech:
    """Hides bands of frames and of mel bands, each utterance its own (Park et al. 2019, arXiv:1904.08779).

    ESPnet's, with its numbers drawn on the host: drawn on the device, the host waits for each, with nothing queued behind it.

    Args:
        speech: left as it is.
        conf: ESPnet's module, which knows what to hide.
    """
    feats = speech.feats
    if type(conf) is not SpecAug:
        return Speech(conf(feats.clone(), speech.lengths)[0], speech.lengths, speech.known)  # it may hide in place
    if conf.time_warp is not None:
        feats = conf.time_warp(feats.clone(), speech.lengths)[0]
    for mask in (conf.freq_mask, conf.time_mask):
        if isinstance(mask, MaskAlongAxis):
            feats = _hidden(feats, mask, *mask.mask_width_range)
        elif isinstance(mask, MaskAlongAxisVariableMaxWidth):
            size, (low, high) = feats.size(mask.dim), mask.mask_width_ratio_range
            feats = _hidden(feats, mask, max(0, math.floor(size * low)), min(size, math.floor(size * high)))
    return Speech(feats, speech.lengths, speech.known)


def _hidden(feats: Tensor, conf: Any, least: int, most: int) -> Tensor:
    """Features with `conf.num_mask` stretches of `least` to `most - 1` places hidden along an axis."""
    if most <= least:
        return feats
    shape, size = (feats.size(0), conf.num_mask), feats.size(conf.dim)
    widths = torch.randint(least, most, shape)
    starts = torch.randint(0, max(1, size - int(widths.max())), shape)
    low, high = (places.to(feats.device, non_blocking=True)[..., None] for places in (starts, starts + widths))
    at = torch.arange(size, device=feats.device)
    mask = ((low <= at) & (at < high)).any(1).unsqueeze(3 - conf.dim)
    return feats.masked_fill(mask, 0.0) if conf.replace_with_zero else torch.where(mask, feats.mean(), feats)
