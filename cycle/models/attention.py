"""The attention decoder taken apart: probability of given texts, ancestral sampling, its own tokens as inputs.

One definition serves sampling and scoring, so that their probabilities agree to the last string: a blank is never a token, a text has at
most as many tokens as the encoder has outputs, and where it has that many its end is certain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cycle.models.ctc_search import BLANK
from cycle.models.espnet import BaseTransformerDecoder
from cycle.models.recognizer import UNFIT

_NEVER = -1e30
IGNORE = -1  # padding of targets


def bordered(ids: Tensor, lengths: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of teacher forcing.

    Args:
        ids: (B, L) tokens; lengths: (B,).
        end: the token that starts and ends a sentence.

    Returns:
        (B, L' + 1) twice, L' the longest text: `end` and the tokens; the tokens and `end`, IGNORE behind it.
    """
    ids = ids[:, : int(lengths.max())]
    inputs = nn.functional.pad(ids.clamp(min=0), (1, 0), value=end)
    targets = nn.functional.pad(ids, (0, 1), value=IGNORE).scatter(1, lengths[:, None], end)
    behind = torch.arange(targets.size(1), device=ids.device) > lengths[:, None]
    return inputs, targets.masked_fill(behind, IGNORE)


def next_logp(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """(..., V) log-probabilities of the next token from logits (or log-probabilities) at a temperature."""
    blank = torch.arange(scores.size(-1), device=scores.device) == BLANK
    return (scores.float() / temperature).masked_fill(blank, _NEVER).log_softmax(-1)


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
    scores = next_logp(decoder(memory, frames, inputs, lengths + 1)[0], temperature)
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
    mask = (torch.arange(memory.size(1), device=memory.device) < frames[:, None])[:, None]
    done = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
    state: Any = None
    for step in range(int(frames.max())):
        scores, state = _next(decoder, ids, memory, frames, mask, state)
        choice = next_logp(scores, temperature or 1.0)
        token = torch.multinomial(choice.exp(), 1)[:, 0] if temperature else choice.argmax(-1)
        token = token.masked_fill(done | (step >= frames), end)
        ids = torch.cat([ids, token[:, None]], dim=1)
        done = done | (token == end)
        if step % 8 == 7 and bool(done.all()):  # asking costs a synchronisation
            break
    spoken = ids[:, 1:]
    before_end = (spoken == end).cumsum(1) == 0
    return [row[keep].tolist() for row, keep in zip(spoken.cpu(), before_end.cpu(), strict=True)]


def _next(decoder: nn.Module, ids: Tensor, memory: Tensor, frames: Tensor, mask: Tensor, state: Any) -> tuple[Tensor, Any]:
    """(B, V) scores of what follows (B, L) ids; transformer decoders keep a state, others start over."""
    if isinstance(decoder, BaseTransformerDecoder):
        width = ids.size(1)
        history = torch.ones((1, width, width), dtype=torch.bool, device=ids.device).tril()
        scores, state = decoder.forward_one_step(ids, history, memory, mask, cache=state)
        return scores, state
    return decoder(memory, frames, ids, torch.full_like(frames, ids.size(1)))[0][:, -1], None


@contextlib.contextmanager
def own_inputs(decoder: nn.Module, share: float, end: int) -> Iterator[None]:
    """Inside the block, this share of the decoder's input tokens is its own: drawn from what it predicts given the true history.

    Two passes (Mihaylova & Martins 2019, arXiv:1906.07651): a transformer reads all inputs at once, so its own tokens come from a first
    pass without gradient. The targets stay as they are.
    """

    def mix(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        memory, frames, inputs, lengths = args
        with torch.no_grad():
            own = torch.distributions.Categorical(logits=next_logp(module.forward(memory, frames, inputs, lengths)[0])).sample()
        own = nn.functional.pad(own[:, :-1], (1, 0), value=end)
        swap = torch.rand(inputs.shape, device=inputs.device) < share
        swap[:, 0] = False  # nothing comes before the first token
        return memory, frames, torch.where(swap, own, inputs), lengths

    handle = decoder.register_forward_pre_hook(mix)
    try:
        yield
    finally:
        handle.remove()


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
    sure = torch.tensor([1 - smoothing, spread], dtype=lp.dtype, device=lp.device)
    entropy = torch.special.entr(sure) @ torch.tensor([1.0, lp.size(-1) - 1.0], dtype=lp.dtype, device=lp.device)
    return (cross - entropy).masked_fill(targets == IGNORE, 0.0).sum(1)
