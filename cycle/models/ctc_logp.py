"""Log-probability of texts under CTC, all paths summed, with gradient: by torch's own loss, and without its questions to the device.

torch wants lengths on the host, so that it waits for the device, and then again and again to copy what it makes of them: eight times in the
middle of a training step, in which a GPU has nothing to do. `by_steps` never asks, so that it can be part of a recording (CUDA graphs,
`cycle/models/graphs.py`). Done step by step it would cost a launch for each of its operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cycle.data.batch import within
from cycle.models.ctc_search import BLANK, NEVER
from cycle.models.recognizer import UNFIT


def by_torch(logp: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """`torch.nn.functional.ctc_loss`.

    Args:
        logp: (B, T, V) log-probabilities, blank 0.
        frames: (B,), ids: (B, L) any token or none (-1) behind a text, lengths: (B,), all three on the host.

    Returns:
        (B,) on the device; UNFIT and no gradient where the frames do not suffice.
    """
    ids = ids.clamp(min=0)
    enough = fits(frames, ids, lengths).to(logp.device, non_blocking=True)
    sent = ids.to(logp.device, non_blocking=True)
    sizes: Any = (tuple(frames.tolist()), tuple(lengths.tolist()))  # as tensors, CUDA may want them on the device
    value = nn.functional.ctc_loss(logp.transpose(0, 1), sent, *sizes, reduction="none", zero_infinity=True)
    return torch.where(enough, -value, torch.full_like(value, UNFIT))  # torch would say 0


def by_steps(logp: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """The same with everything on the device, by the forward-backward algorithm.

    Graves et al. 2006, "Connectionist temporal classification". The gradient is minus the labels' posterior; torch's differs by the
    distribution itself, which comes to the same behind a softmax.

    Returns:
        (B,) as there.
    """
    value: Tensor = _PathSum.apply(logp, frames, ids.clamp(min=0), lengths)  # type: ignore[no-untyped-call]
    return value


def fits(frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """(B,) whether there are frames for all tokens, and for a blank between equal ones."""
    place = torch.arange(1, ids.size(1), device=ids.device)
    repeats = ((ids[:, 1:] == ids[:, :-1]) & (place < lengths[:, None])).sum(1)
    return frames >= lengths + repeats


class _PathSum(torch.autograd.Function):
    """Forward and backward probabilities in one pass: backward is forward in the mirrored lattice, the second half of the batch."""

    @staticmethod
    def forward(ctx: Any, logp: Tensor, frames: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        (B, T, _), S = logp.shape, 2 * ids.size(1) + 1
        labels = between_blanks(ids)
        emit = logp.gather(2, labels[:, None].expand(B, T, S))
        last = (frames[:, None] - 1 - torch.arange(T, device=ids.device)).clamp(min=0)[..., None].expand(B, T, S)
        other = (2 * lengths[:, None] - torch.arange(S, device=ids.device)).clamp(min=0)

        def mirrored(lattice: Tensor) -> Tensor:
            """(B, T, S) with the last frame and the last label first."""
            return lattice.gather(1, last).gather(2, other[:, None].expand(B, T, S))

        both = torch.cat([emit, mirrored(emit)]).transpose(0, 1).contiguous()
        ahead, back = sums(both, torch.cat([labels, labels.gather(1, other)])).transpose(0, 1).split(B)
        back = mirrored(back)
        valid = within(2 * lengths + 1, S)
        total = back[:, 0, :2].masked_fill(~valid[:, :2], NEVER).logsumexp(1)
        enough = fits(frames, ids, lengths)
        inside = valid[:, None] & within(frames, T)[..., None] & enough[:, None, None]
        posterior = (ahead + back - emit - total[:, None, None]).masked_fill(~inside, NEVER).exp()
        ctx.save_for_backward(labels, posterior)
        ctx.tokens = logp.size(2)
        return torch.where(enough, total, torch.full_like(total, UNFIT))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        labels, posterior = ctx.saved_tensors
        B, T, S = posterior.shape
        zero = posterior.new_zeros((B, T, ctx.tokens))
        return zero.scatter_add(2, labels[:, None].expand(B, T, S), slope[:, None, None] * posterior), None, None, None


def between_blanks(ids: Tensor) -> Tensor:
    """(B, 2 L + 1) labels of (B, L) tokens: blanks around each."""
    labels = torch.full((len(ids), 2 * ids.size(1) + 1), BLANK, device=ids.device)
    labels[:, 1::2] = ids
    return labels


def skips(labels: Tensor) -> Tensor:
    """(B, S) 0 where a path may come from two labels before, past a blank to another token (or begin, at the second), else NEVER."""
    known = torch.full(labels.shape, NEVER, device=labels.device)
    known[:, 1] = 0.0
    known[:, 2:] = known[:, 2:].masked_fill((labels[:, 2:] != BLANK) & (labels[:, 2:] != labels[:, :-2]), 0.0)
    return known


def sums(emit: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of all paths that begin with one of the first two labels and are at a label in a frame, that frame included.

    Args:
        emit: (T, B, S) log-probability of each label in each frame.
        labels: (B, S), blanks around every token.

    Returns:
        (T, B, S).
    """
    T, B, S = emit.shape
    skip = skips(labels)
    # Two labels more in front, and a frame before the first, in which all paths are at the second of these.
    room = torch.full((T + 1, B, S + 2), NEVER, device=emit.device, dtype=emit.dtype)
    room[0, :, 1] = 0.0
    for before, now, frame in zip(room[:-1].unbind(), room[1:].unbind(), emit.unbind(), strict=True):
        near = torch.logaddexp(before[:, 2:], before[:, 1:-1])
        torch.add(torch.logaddexp(near, before[:, :-2] + skip), frame, out=now[:, 2:])
    return room[1:, :, 2:]
