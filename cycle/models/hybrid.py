"""ESPnet's CTC/attention loss text by text, and without its questions to the device.

ESPnet's own `forward` asks the device for numbers dozens of times, some of them for every utterance of a batch (the length of its text, to
cut it; which of its tokens are padding). Here texts are cut on the host, which knows them, and the one number that torch must have, how
many frames there are, is asked for once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cycle.models import attention
from cycle.models.espnet import ESPnetASRModel
from cycle.models.recognizer import UNFIT


def is_hybrid(model: Any) -> bool:
    """Whether an ESPnet ASR model's loss is the one here; transducers, auxiliary data, other forms of CTC and other classes are not."""
    if type(model) is not ESPnetASRModel or model.use_transducer_decoder or model.use_linear_decoder:
        return False
    ctc = model.ctc is None or (model.ctc.ctc_type == "builtin" and model.ctc.reduce and model.ctc.ctc_loss.zero_infinity)
    decoder = model.ctc_weight == 1 or not model.criterion_att.normalize_length
    others = model.aux_ctc or getattr(model, "lang_token_id", None) is not None
    return bool(ctc and decoder and not others)


def losses(
    model: Any, encoded: tuple[Tensor, Tensor, list[Tensor]], ids: Tensor, lengths: Tensor, n: int = 1, own_inputs: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses of n texts an utterance.

    Args:
        encoded: what `encoder.encode` returns.
        ids: (B n, L) tokens on the host, attention.IGNORE behind a text; lengths: (B n,) on the host.
        own_inputs: share of the decoder's inputs that it draws itself.

    Returns:
        (B n,) losses, 0 from CTC where a text does not fit; what to log.
    """
    out, frames, inner = encoded
    memory, device, share = out.repeat_interleave(n, 0), out.device, model.ctc_weight
    each, stats = torch.zeros((), device=device), dict[str, Tensor]()
    if share < 1:
        heard, sizes = frames.repeat_interleave(n), lengths.to(device, non_blocking=True)
        inputs, targets = attention.bordered(ids.to(device, non_blocking=True), sizes, model.eos)
        if own_inputs > 0:
            inputs = attention.own_inputs(model.decoder, memory, heard, inputs, sizes + 1, own_inputs, model.eos)
        scores = attention.logits(model.decoder, memory, heard, inputs, sizes + 1)
        loss = attention.smoothed(scores, targets, model.criterion_att.smoothing)
        each = each + (1 - share) * loss
        stats |= {"loss_att": loss.detach().mean(), "acc": attention.accuracy(scores, targets)}
    if share > 0:
        there = frames.cpu().repeat_interleave(n)  # torch's CTC waits anyway, so the decoder was given its work before
        loss = _ctc_loss(model.ctc, memory, there, ids, lengths)
        if inner:
            within = [_ctc_loss(model.ctc, layer.repeat_interleave(n, 0), there, ids, lengths) for layer in inner]
            loss = (1 - model.interctc_weight) * loss + model.interctc_weight * torch.stack(within).mean(0)
        each = each + share * loss
        stats |= {"loss_ctc": loss.detach().mean()}
    return each, stats


def _ctc_loss(ctc: Any, memory: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """(B,) CTC losses of encoder outputs (B, T', D)."""
    logits = ctc.ctc_lo(nn.functional.dropout(memory, ctc.dropout_rate, ctc.training))
    logp = ctc_logp(logits.float().log_softmax(-1), frames, ids.clamp(min=0), lengths)
    return -logp.masked_fill(logp <= UNFIT, 0.0)


def ctc_logp(logp: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Log-probability of texts, all CTC paths summed, with gradient.

    Args:
        logp: (B, T', V) log-probabilities.
        frames: (B,), ids: (B, L), lengths: (B,), all three on the host, where torch wants to have the lengths.

    Returns:
        (B,) on the device; UNFIT and no gradient where the frames do not suffice.
    """
    repeats = ((ids[:, 1:] == ids[:, :-1]) & (torch.arange(1, ids.size(1)) < lengths[:, None])).sum(1)
    fits = (frames >= lengths + repeats).to(logp.device, non_blocking=True)
    sent = ids.to(logp.device, non_blocking=True)
    value = nn.functional.ctc_loss(logp.transpose(0, 1), sent, frames, lengths, reduction="none", zero_infinity=True)
    return torch.where(fits, -value, torch.full_like(value, UNFIT))  # torch would say 0
