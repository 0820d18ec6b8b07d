"""Random choices and their probabilities: paths of a CTC lattice, and the Gumbel noise behind a choice, with gradients through it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cycle.models.ctc_search import collapse


def ctc_paths(logp: Tensor, lengths: Tensor, n: int) -> list[list[list[int]]]:
    """Draws n paths an utterance, frame by frame, and collapses them.

    CTC's frames are independent given the speech, so the collapsed text is drawn with exactly the probability that CTC gives it, all of its
    paths summed.

    Args:
        logp: (B, T, V) log-probabilities; lengths: (B,) frames.

    Returns:
        n lists of token ids an utterance.
    """
    B, T, V = logp.shape
    paths = torch.multinomial(logp.float().exp().view(B * T, V), n, replacement=True).view(B, T, n).transpose(1, 2)
    rows = collapse(paths.reshape(B * n, T), lengths.repeat_interleave(n))
    return [rows[i * n : (i + 1) * n] for i in range(B)]


def drawn(logp: Tensor) -> Tensor:
    """One choice from each distribution (..., V): that whose exponential clock of rate p rings first.

    `torch.multinomial` draws a single sample so, too, but asks the device first whether it holds probabilities.

    Returns:
        (...) indices.
    """
    clocks = torch.empty_like(logp).exponential_().clamp_(min=torch.finfo(logp.dtype).tiny)  # at 0 the impossible would ring
    return (logp.exp() / clocks).argmax(-1)


def gumbel_given(logp: Tensor, chosen: Tensor) -> Tensor:
    """Gumbel-perturbed log-probabilities, drawn given which of them is the largest (Maddison et al. 2014, arXiv:1411.0030).

    The largest is a Gumbel at 0, whatever its place; the others are Gumbels cut off there. So a sample may be drawn first, without
    gradient, and its noise afterwards: both together are distributed as if the noise had made the choice.

    Args:
        logp: (..., V) normalised log-probabilities; chosen: (...) indices.

    Returns:
        (..., V), the largest value at `chosen`.
    """
    top = _gumbel(logp[..., :1])
    free = logp + _gumbel(logp)
    return (-torch.logaddexp(-top, -free)).scatter(-1, chosen[..., None], top)


def _gumbel(like: Tensor) -> Tensor:
    return -torch.empty_like(like).exponential_().clamp_(min=1e-20).log()


def straight_through(logp: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """One-hot choices that carry the gradient of their Gumbel-softmax (Jang et al. 2017, arXiv:1611.01144).

    Args:
        logp: (..., V) log-probabilities with gradient; chosen: (...) indices that were drawn from them.
        temperature: of the softmax behind: low is close to the choice and noisy, high is smooth and biased.

    Returns:
        (..., V): one-hot in value, d softmax((logp + noise) / temperature) in gradient.
    """
    with torch.no_grad():
        noise = gumbel_given(logp, chosen) - logp
    soft = ((logp + noise) / temperature).softmax(-1)
    return nn.functional.one_hot(chosen, logp.size(-1)).to(soft.dtype) + soft - soft.detach()


@contextlib.contextmanager
def embedded(embedding: nn.Embedding, tokens: Tensor) -> Iterator[None]:
    """Inside the block, an embedding answers with that of (B, L, V) one-hot tokens, through which gradients flow."""
    handle = embedding.register_forward_hook(lambda module, args, out: tokens @ module.weight)
    try:
        yield
    finally:
        handle.remove()
