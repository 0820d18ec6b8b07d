"""ESPnet's CTC/attention loss text by text, and without its questions to the device.

ESPnet's own `forward` asks the device for numbers dozens of times, some of them for every utterance of a batch (the length of its text, to
cut it; which of its tokens are padding). Here texts are cut on the host, which knows them, and the one number that torch must have, how
many frames there are, is asked for once; not even that where steps are recorded.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.types import Speech
from cycle.models import attention, ctc_logp, encoder
from cycle.models.ctc_search import NEVER
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
    """Whether `on_device` is the same sequence of operations for every batch of a shape: nothing in it asks the device."""
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


def lattice(model: Any, scores: Tensor, temperature: float = 1.0) -> Tensor:
    """(B, T', V) CTC log-probabilities, without the sentence end, which CTC never has to say."""
    logp = scores.float() / temperature
    end = torch.arange(logp.size(-1), device=logp.device) == model.eos
    return logp.masked_fill(end, NEVER).log_softmax(-1)


type Known = tuple[Tensor, Tensor] | None  # tokens and how many, on the host: what torch's CTC waits for. Without, nothing asks the device


def text_logp(
    model: Any, feats: Tensor, lengths: Tensor, ids: Tensor, sizes: Tensor, temperature: float = 1.0, known: Known = None
) -> tuple[Tensor]:
    """(B n,) CTC log-probability of n texts an utterance: (B n, L) tokens and (B n,) how many."""
    out, frames, _ = encoder.encode(model, feats, lengths)
    n = len(ids) // len(feats)
    logp, there = lattice(model, model.ctc.log_softmax(out), temperature), frames.cpu() if known else frames
    return (_ctc_logp(logp.repeat_interleave(n, 0), there.repeat_interleave(n), ids, sizes, known),)


def _ctc_logp(logp: Tensor, frames: Tensor, ids: Tensor, sizes: Tensor, known: Known) -> Tensor:
    """(B,) log-probabilities of texts; `frames` are where the texts are."""
    return ctc_logp.by_torch(logp, frames, *known) if known else ctc_logp.by_steps(logp, frames, ids, sizes)


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
        graphs: recordings of `on_device`.

    Returns:
        (B n,) losses, 0 from CTC where a text does not fit; what to log.
    """
    device = speech.feats.device
    given = (model, speech.feats, speech.lengths, ids.to(device, non_blocking=True), lengths.to(device, non_blocking=True))
    stepwise = partial(on_device, *given, own_inputs, (ids, lengths))
    each, *shown = graphs(*given, otherwise=stepwise) if graphs else stepwise()
    shown = [value.clone() for value in shown] if graphs else shown  # the next replay writes where they lie
    names = ("loss_att", "acc") * (model.ctc_weight < 1) + ("loss_ctc",) * (model.ctc_weight > 0)
    return each, dict(zip(names, shown, strict=True))


def on_device(
    model: Any, feats: Tensor, lengths: Tensor, ids: Tensor, sizes: Tensor, own_inputs: float = 0.0, known: Known = None
) -> tuple[Tensor, ...]:
    """What `losses` returns, the values to log without their names."""
    inputs, targets = attention.bordered(ids, sizes, model.eos)
    frames, *found = outputs(model, feats, lengths, inputs, sizes + 1, own_inputs)
    n, share = len(ids) // len(feats), model.ctc_weight
    each, shown = torch.zeros((), device=ids.device), list[Tensor]()
    if share < 1:
        scores = found.pop(0)
        loss = attention.smoothed(scores, targets, model.criterion_att.smoothing)
        each = each + (1 - share) * loss
        shown += [loss.detach().mean(), attention.accuracy(scores, targets)]
    if share > 0:
        there = frames.cpu() if known else frames  # waits for what the device was given, which is all that comes before torch's CTC
        last, *inner = (_ctc_loss(logp.repeat_interleave(n, 0), there.repeat_interleave(n), ids, sizes, known) for logp in found)
        loss = (1 - model.interctc_weight) * last + model.interctc_weight * torch.stack(inner).mean(0) if inner else last
        each = each + share * loss
        shown += [loss.detach().mean()]
    return each, *shown


def _ctc_loss(logp: Tensor, frames: Tensor, ids: Tensor, sizes: Tensor, known: Known) -> Tensor:
    """(B,) CTC losses, 0 where a text does not fit."""
    value = _ctc_logp(logp, frames, ids, sizes, known)
    return -value.masked_fill(value <= UNFIT, 0.0)
