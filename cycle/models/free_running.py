"""Autoregressive synthesisers speaking a batch: Tacotron 2 and Transformer-TTS, step by step for all sentences together.

ESPnet's `inference` speaks one sentence. The loops here call the same modules in the same order; a test holds them to its output.
Encoders and postnets run sentence by sentence: their convolutions let padding change the numbers, and they cost little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.batch import within
from cycle.device import send
from cycle.models.espnet import Tacotron2

THRESHOLD = 0.5  # stop probability that ends a sentence
LONGEST = 10.0  # frames per token at most
LOOK = 8  # steps between two looks at whether all have stopped: each makes the host wait for the device

type Step = Callable[[Tensor], tuple[Tensor, Tensor]]  # last frame (B, M) -> next frames (B, r, M), stop logits (B, r)


def speak(tts: Any, ids: list[Tensor], spks: list[dict[str, Tensor]]) -> list[Tensor]:
    """Speaks sentences.

    Args:
        tts: ESPnet's Tacotron2 or Transformer, in evaluation mode.
        ids: (L,) tokens of each, without the end token.
        spks: ESPnet's speaker arguments of each.

    Returns:
        (T, M) features of each.
    """
    hidden = [_encode(tts, tokens, spk) for tokens, spk in zip(ids, spks, strict=True)]
    sizes = send([len(h) for h in hidden], hidden[0].device)
    padded = nn.utils.rnn.pad_sequence(hidden, batch_first=True)
    step = _tacotron(tts, padded, sizes) if isinstance(tts, Tacotron2) else _transformer(tts, padded, sizes)
    frames, ends = _run(step, (sizes * LONGEST).long(), tts.odim, tts.reduction_factor, padded)
    return [_polish(tts, row[:end]) for row, end in zip(frames, ends.tolist(), strict=True)]


def _encode(tts: Any, tokens: Tensor, spk: dict[str, Tensor]) -> Tensor:
    xs = nn.functional.pad(tokens, (0, 1), value=tts.eos)
    hidden = tts.enc.inference(xs) if isinstance(tts, Tacotron2) else tts.encoder(xs[None], None)[0][0]
    if tts.spk_embed_dim is not None:
        hidden = tts._integrate_with_spk_embed(hidden[None], spk["spembs"].view(1, -1))[0]
    return hidden


def _run(step: Step, limits: Tensor, odim: int, r: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of all sentences until each has stopped or reached its limit, and where each ends."""
    last, outs = like.new_zeros(len(limits), odim), []
    ends = torch.zeros_like(limits)
    for number in range(1, -(-int(limits.max()) // r) + 1):
        frames, logits = step(last)
        outs.append(frames)
        last = frames[:, -1]
        stopped = (logits.sigmoid() >= THRESHOLD).any(1) | (number * r >= limits)
        ends = torch.where((ends == 0) & stopped, number * r, ends)
        if number % LOOK == 0 and bool((ends > 0).all()):
            break
    return torch.cat(outs, dim=1), ends


def _tacotron(tts: Any, hidden: Tensor, sizes: Tensor) -> Step:
    dec, known = tts.dec, sizes.tolist()
    z, c = ([hidden.new_zeros(len(known), cell.cell.hidden_size if hasattr(cell, "cell") else cell.hidden_size) for cell in dec.lstm]
            for _ in range(2))  # fmt: skip
    seen: list[Tensor] = []  # attention so far
    dec.att.reset()

    def step(last: Tensor) -> tuple[Tensor, Tensor]:
        if seen and dec.output_activation_fn is not None:
            last = dec.output_activation_fn(last)
        extra = (last,) if dec.use_att_extra_inputs else ()
        context, weights = dec.att(hidden, known, z[0], seen[0] if seen else None, *extra)
        xs = torch.cat([context, dec.prenet(last) if dec.prenet is not None else last], dim=1)
        for i, cell in enumerate(dec.lstm):
            z[i], c[i] = cell(xs if i == 0 else z[i - 1], (z[i], c[i]))
        zcs = torch.cat([z[-1], context], dim=1) if dec.use_concate else z[-1]
        seen[:] = [seen[0] + weights if dec.cumulate_att_w and seen else weights]
        return dec.feat_out(zcs).view(len(zcs), dec.odim, -1).transpose(1, 2), dec.prob_out(zcs)

    return step


def _transformer(tts: Any, hidden: Tensor, sizes: Tensor) -> Step:
    """ESPnet's `forward_one_step`, with a mask for the sentences' padding, which it lacks."""
    dec, size = tts.decoder, hidden.size(1)
    inside = within(sizes, size)[:, None]
    ys: list[Tensor] = []
    cache: list[Any] = [None] * len(dec.decoders)

    def step(last: Tensor) -> tuple[Tensor, Tensor]:
        ys.append(last[:, None])
        mask = torch.ones(len(ys), len(ys), dtype=torch.bool, device=hidden.device).tril()[None]
        x = dec.embed(torch.cat(ys, dim=1))
        for i, layer in enumerate(dec.decoders):
            x, _, _, _ = layer(x, mask, hidden, inside, cache=cache[i])
            cache[i] = x
        z = dec.after_norm(x[:, -1]) if dec.normalize_before else x[:, -1]
        return tts.feat_out(z).view(len(z), -1, tts.odim), tts.prob_out(z)

    return step


def _polish(tts: Any, frames: Tensor) -> Tensor:
    """(T, M) frames with the postnet's correction."""
    part = tts.dec if isinstance(tts, Tacotron2) else tts
    whole = frames if part.postnet is None else frames + part.postnet(frames.T[None])[0].T
    activation = getattr(part, "output_activation_fn", None)
    return whole if activation is None else activation(whole)
