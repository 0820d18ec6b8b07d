"""ESPnet's CTC/attention loss text by text, and without its questions to the device.

ESPnet's own `forward` asks the device for numbers dozens of times, some of them for every utterance of a batch (the length of its text, to
cut it; which of its tokens are padding). Here texts are cut on the host, which knows them, and the one number that torch must have, how
many frames there are, is asked for once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.types import Speech
from cycle.models import attention, encoder
from cycle.models.espnet import ESPnetASRModel
from cycle.models.graphs import Graphs, is_steady
from cycle.models.recognizer import UNFIT


def is_hybrid(model: Any) -> bool:
    """Whether an ESPnet ASR model's loss is the one here; transducers, auxiliary data, other forms of CTC and other classes are not."""
    if type(model) is not ESPnetASRModel or model.use_transducer_decoder or model.use_linear_decoder:
        return False
    ctc = model.ctc is None or (model.ctc.ctc_type == "builtin" and model.ctc.reduce and model.ctc.ctc_loss.zero_infinity)
    decoder = model.ctc_weight == 1 or not model.criterion_att.normalize_length
    others = model.aux_ctc or getattr(model, "lang_token_id", None) is not None
    return bool(ctc and decoder and not others)


def is_recordable(model: Any) -> bool:
    """Whether `outputs` is the same sequence of operations for every batch of a shape: nothing in it asks the device."""
    plain = is_hybrid(model) and encoder.is_plain(model) and (model.ctc_weight == 1 or attention.is_plain(model.decoder))
    return plain and is_steady(model)


def outputs(
    model: Any, feats: Tensor, lengths: Tensor, inputs: Tensor, sizes: Tensor, own_inputs: float = 0.0
) -> tuple[Tensor, ...]:  # fmt: skip
    """Everything that a hybrid model computes before its losses.

    Args:
        feats: (B, T, M); lengths: (B,) frames.
        inputs: (B n, L + 1) tokens that the decoder reads, n texts an utterance; sizes: (B n,) how many.
        own_inputs: share of them that it draws itself.

    Returns:
        (B,) outputs of the encoder; then, where the model has the branch, (B n, L + 1, V) scores of the decoder; then (B, T', V)
        CTC log-probabilities of the last layer and of inner ones with a loss of their own.
    """
    out, frames, inner = encoder.encode(model, feats, lengths)
    found = [frames]
    if model.ctc_weight < 1:
        n = len(inputs) // len(feats)
        memory, heard = out.repeat_interleave(n, 0), frames.repeat_interleave(n)
        if own_inputs > 0:
            inputs = attention.own_inputs(model.decoder, memory, heard, inputs, sizes, own_inputs, model.eos)
        found.append(attention.logits(model.decoder, memory, heard, inputs, sizes))
    if model.ctc_weight > 0:
        found += [_ctc_scores(model.ctc, layer) for layer in (out, *inner)]
    return tuple(found)


def emissions(model: Any, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T', V) CTC log-probabilities of speech, and (B,) their lengths."""
    out, frames, _ = encoder.encode(model, feats, lengths)
    return model.ctc.log_softmax(out), frames


def _ctc_scores(ctc: Any, out: Tensor) -> Tensor:
    """(B, T', V) log-probabilities of encoder outputs (B, T', D)."""
    logits: Tensor = ctc.ctc_lo(nn.functional.dropout(out, ctc.dropout_rate, ctc.training))
    return logits.float().log_softmax(-1)


def losses(
    model: Any, speech: Speech, ids: Tensor, lengths: Tensor, own_inputs: float = 0.0, graphs: Graphs | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses of n texts an utterance.

    Args:
        speech: what `encoder.augmented` returns, of B utterances.
        ids: (B n, L) tokens on the host, attention.IGNORE behind a text; lengths: (B n,) on the host.
        own_inputs: share of the decoder's inputs that it draws itself.
        graphs: recordings of `outputs`.

    Returns:
        (B n,) losses, 0 from CTC where a text does not fit; what to log.
    """
    device, share = speech.feats.device, model.ctc_weight
    sizes, n = lengths.to(device, non_blocking=True), len(ids) // len(speech.feats)
    inputs, targets = attention.bordered(ids.to(device, non_blocking=True), sizes, model.eos)
    given = (speech.feats, speech.lengths, inputs, sizes + 1)
    frames, *found = graphs(model, *given) if graphs else outputs(model, *given, own_inputs=own_inputs)
    each, stats = torch.zeros((), device=device), dict[str, Tensor]()
    if share < 1:
        scores = found.pop(0)
        loss = attention.smoothed(scores, targets, model.criterion_att.smoothing)
        each = each + (1 - share) * loss
        stats |= {"loss_att": loss.detach().mean(), "acc": attention.accuracy(scores, targets)}
    if share > 0:
        there = frames.cpu().repeat_interleave(n)  # torch's CTC waits anyway, so all else was given to the device before
        last, *inner = (_ctc_loss(logp.repeat_interleave(n, 0), there, ids, lengths) for logp in found)
        loss = (1 - model.interctc_weight) * last + model.interctc_weight * torch.stack(inner).mean(0) if inner else last
        each = each + share * loss
        stats |= {"loss_ctc": loss.detach().mean()}
    return each, stats


def _ctc_loss(logp: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """(B,) CTC losses, 0 where a text does not fit."""
    value = ctc_logp(logp, frames, ids.clamp(min=0), lengths)
    return -value.masked_fill(value <= UNFIT, 0.0)


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
    sizes: Any = (tuple(frames.tolist()), tuple(lengths.tolist()))  # as tensors, CUDA may want them on the device
    value = nn.functional.ctc_loss(logp.transpose(0, 1), sent, *sizes, reduction="none", zero_infinity=True)
    return torch.where(fits, -value, torch.full_like(value, UNFIT))  # torch would say 0
