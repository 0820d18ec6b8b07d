"""ESPnet's ASR encoders without the questions they ask the device.

`encode` of an ESPnet model asks for lengths seven times, to cut and to check what is cut and checked already; the host waits for each
answer, with nothing queued behind it.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from cycle.data.types import Speech
from cycle.models.augment import spec_augment


def encode(model: Any, speech: Speech) -> tuple[Tensor, Tensor, list[Tensor]]:
    """What ESPnet's `encode` computes, SpecAugment included in training.

    Args:
        model: an ESPnet ASR model.

    Returns:
        (B, T', D) outputs, (B,) their lengths, and the outputs of inner layers that have a CTC loss of their own.
    """
    if _plain(model):
        longest = speech.feats.size(1) if speech.known is None else int(speech.known.max())
        speech = Speech(speech.feats[:, :longest], speech.lengths, speech.known)
        if model.training and model.specaug is not None:
            speech = spec_augment(speech, model.specaug)
        behind = torch.arange(longest, device=speech.feats.device) >= speech.lengths[:, None]
        given = {"ctc": model.ctc} if getattr(model.encoder, "interctc_use_conditioning", False) else {}
        out, sizes, _ = model.encoder(speech.feats, speech.lengths, masks=behind, **given)
    else:
        out, sizes = model.encode(speech.feats, speech.lengths)
    out, inner = out if isinstance(out, tuple) else (out, [])
    return out, sizes, [layer for _, layer in inner]


def _plain(model: Any) -> bool:
    """Whether the encoder is all there is, and takes masks."""
    others = (model.frontend, model.normalize, model.preencoder, model.postencoder)
    takes = inspect.signature(model.encoder.forward).parameters if model.encoder is not None else {}
    return others == (None, None, None, None) and "masks" in takes and not getattr(model.encoder, "ctc_trim", False)
