"""The attention decoder taken apart: probability of given texts, ancestral sampling, its own tokens as inputs.

One definition serves sampling and scoring, so that their probabilities agree to the last string: a blank is never a token, a text has at
most as many tokens as the encoder has outputs, and where it has that many its end is certain.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.batch import within
from cycle.models.ctc_search import BLANK, NEVER
from cycle.models.espnet import BaseTransformerDecoder
from cycle.models.recognizer import UNFIT
from cycle.models.sampling import drawn

IGNORE = -1  # padding of targets


def bordered(ids: Tensor, lengths: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of teacher forcing.

    Args:
        ids: (B, L) tokens; lengths: (B,).
        end: the token that starts and ends a sentence.

    Returns:
        (B, L + 1) twice: `end` and the tokens; the tokens and `end`, IGNORE behind it.
    """
    inputs = nn.functional.pad(ids.clamp(min=0), (1, 0), value=end)
    targets = nn.functional.pad(ids, (0, 1), value=IGNORE).scatter(1, lengths[:, None], end)
    behind = torch.arange(targets.size(1), device=ids.device) > lengths[:, None]
    return inputs, targets.masked_fill(behind, IGNORE)


def next_logp(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """(..., V) log-probabilities of the next token from logits (or log-probabilities) at a temperature."""
    blank = torch.arange(scores.size(-1), device=scores.device) == BLANK
    return (scores.float() / temperature).masked_fill(blank, NEVER).log_softmax(-1)


def is_plain(decoder: Any) -> bool:
    """Whether a decoder is a transformer of ESPnet's with nothing added, so that `logits` asks the device nothing."""
    plain = isinstance(decoder, BaseTransformerDecoder) and type(decoder).forward is BaseTransformerDecoder.forward
    return plain and not decoder.gradient_checkpoint_layers


def logits(decoder: Any, memory: Tensor, frames: Tensor, inputs: Tensor, lengths: Tensor) -> Tensor:
    """(B, L, V) scores of what follows each input: the decoder's own `forward`, of a transformer without its questions to the device.

    Args:
        memory: (B, T, D) encoder outputs; frames: (B,) how many.
        inputs: (B, L) tokens; lengths: (B,).
    """
    if not is_plain(decoder):
        return decoder(memory, frames, inputs, lengths)[0]  # type: ignore[no-any-return]
    place = torch.arange(inputs.size(1), device=inputs.device)
    mask: Tensor = (place < lengths[:, None])[:, None] & (place <= place[:, None])
    look = within(frames, memory.size(1))[:, None]
    x = decoder.embed(inputs)
    for layer in decoder.decoders:
        x, mask, memory, look = layer(x, mask, memory, look)
    if decoder.normalize_before:
        x = decoder.after_norm(x)
    return decoder.output_layer(x) if decoder.output_layer is not None else x  # type: ignore[no-any-return]


def logp(
    decoder: nn.Module, memory: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor, end: int, temperature: float = 1.0
) -> Tensor:  # fmt: skip
    """Log-probability of texts under teacher forcing.

    Args:
        memory: (B, T, D) encoder outputs; frames: (B,) how many.
        ids: (B, L) tokens; lengths: (B,).

    Returns:
        (B,); UNFIT where a text is longer than its frames.
    """
    inputs, targets = bordered(ids, lengths, end)
    scores = next_logp(logits(decoder, memory, frames, inputs, lengths + 1), temperature)
    each = scores.gather(2, targets.clamp(min=0)[..., None])[..., 0]
    place = torch.arange(each.size(1), device=each.device)
    counts = (place <= lengths[:, None]) & (place < frames[:, None])
    return torch.where(lengths <= frames, each.masked_fill(~counts, 0.0).sum(1), torch.full_like(each[:, 0], UNFIT))


@torch.no_grad()
def weights(decoder: nn.Module, memory: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor, end: int) -> Tensor | None:
    """Where the decoder looks while it writes given texts: (B, L + 1, T) over the encoder's outputs, rows sum to one.

    The mean over the heads of the last layer; None for a decoder that is no transformer.
    """
    if not isinstance(decoder, BaseTransformerDecoder):
        return None
    look: Any = decoder.decoders[-1].src_attn
    fused = {name: getattr(look, name) for name in ("use_flash_attn", "use_sdpa") if hasattr(look, name)}
    try:
        for name in fused:  # fused kernels never hold the weights
            setattr(look, name, False)
        decoder(memory, frames, bordered(ids, lengths, end)[0], lengths + 1)
        return look.attn.mean(1)  # type: ignore[no-any-return]
    finally:
        for name, value in fused.items():
            setattr(look, name, value)


@torch.no_grad()
def sample(decoder: nn.Module, memory: Tensor, frames: Tensor, end: int, temperature: float = 1.0) -> list[list[int]]:
    """Draws a text for each row of (B, T, D) encoder outputs, token by token, each given those drawn before it, up to the end token.

    Args:
        temperature: divides the logits; 0 takes the most probable token.
    """
    ids = torch.full((len(memory), 1), end, dtype=torch.long, device=memory.device)
    mask = within(frames, memory.size(1))[:, None]
    done = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
    state: Any = None
    for step in range(int(frames.max())):
        scores, state = _next(decoder, ids, memory, frames, mask, state)
        choice = next_logp(scores, temperature or 1.0)
        token = drawn(choice) if temperature else choice.argmax(-1)
        token = token.masked_fill(done | (step >= frames), end)
        ids = torch.cat([ids, token[:, None]], dim=1)
        done = done | (token == end)
        if step % 8 == 7 and bool(done.all()):  # asking costs a synchronisation
            break
    return [row[: row.index(end)] if end in row else row for row in ids[:, 1:].tolist()]


def _next(decoder: nn.Module, ids: Tensor, memory: Tensor, frames: Tensor, mask: Tensor, state: Any) -> tuple[Tensor, Any]:
    """(B, V) scores of what follows (B, L) ids; transformer decoders keep a state, others start over."""
    if isinstance(decoder, BaseTransformerDecoder):
        width = ids.size(1)
        history = torch.ones((1, width, width), dtype=torch.bool, device=ids.device).tril()
        scores, state = decoder.forward_one_step(ids, history, memory, mask, cache=state)
        return scores, state
    return decoder(memory, frames, ids, torch.full_like(frames, ids.size(1)))[0][:, -1], None


def own_inputs(decoder: nn.Module, memory: Tensor, frames: Tensor, inputs: Tensor, lengths: Tensor, share: float, end: int) -> Tensor:
    """Inputs of which a share is the decoder's own: drawn from what it predicts given the true history.

    Two passes (Mihaylova & Martins 2019, arXiv:1906.07651): a transformer reads all inputs at once, so its own tokens come from a first
    pass without gradient. The targets stay as they are.

    Args:
        inputs: (B, L) as `bordered` gives them; lengths: (B,).

    Returns:
        (B, L); the first input starts the sentence as before.
    """
    with torch.no_grad():
        said = next_logp(logits(decoder, memory, frames, inputs, lengths))
        own = drawn(said)
    own = nn.functional.pad(own[:, :-1], (1, 0), value=end)
    return torch.where(torch.rand(inputs.shape, device=inputs.device) < share, own, inputs)


def smoothed(scores: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """ESPnet's label-smoothed loss without its mean over utterances.

    Args:
        scores: (B, L, V) logits; targets: (B, L), IGNORE where nothing counts.
        smoothing: probability that is spread over the wrong tokens.

    Returns:
        (B,) Kullback-Leibler divergence from the smoothed targets, summed over tokens.
    """
    lp = scores.float().log_softmax(-1)
    right = lp.gather(2, targets.clamp(min=0)[..., None])[..., 0]
    spread = smoothing / (lp.size(-1) - 1)
    cross = -(1 - smoothing) * right - spread * (lp.sum(-1) - right)
    entropy = -sum(n * p * math.log(p) for n, p in ((1, 1 - smoothing), (lp.size(-1) - 1, spread)) if p > 0)
    return (cross - entropy).masked_fill(targets == IGNORE, 0.0).sum(1)


def accuracy(scores: Tensor, targets: Tensor) -> Tensor:
    """Share of (B, L) targets that have the highest of (B, L, V) scores; IGNORE counts nowhere."""
    counts = targets != IGNORE
    return ((scores.argmax(-1) == targets) & counts).sum() / counts.sum()
