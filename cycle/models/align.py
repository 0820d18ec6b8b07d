"""Forced alignment by Viterbi over a CTC lattice, for a whole batch at once: durations for the synthesiser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cycle.data.batch import within
from cycle.models.ctc_logp import between_blanks, skips
from cycle.models.ctc_search import NEVER


def viterbi(logp: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The best CTC path through given tokens.

    Args:
        logp: (B, T, V) log-probabilities, blank 0.
        lengths: (B,) frames.
        targets: (B, L) token ids, anything behind the end.
        target_lengths: (B,).

    Returns:
        (B, T) states, 2 i + 1 while token i sounds and even in between (behind the end: the last state), and (B,) the path's
        log-probability, about -1e30 where the frames do not suffice.
    """
    logp = logp.float()
    B, T, _ = logp.shape
    L = targets.size(1)
    S = 2 * L + 1
    device = logp.device
    labels = between_blanks(targets.clamp(min=0))
    emit = logp.gather(2, labels[:, None].expand(B, T, S)).transpose(0, 1).contiguous()
    way = nn.functional.pad(skips(labels)[..., None], (0, 2))  # (B, S, 3), from two states before, from one before, from itself
    # Two states more in front, and a frame before the first, in which all paths are at the second of these.
    score = torch.full((T + 1, B, S + 2), NEVER, device=device)
    score[0, :, 1] = 0.0
    came = []
    for before, now, frame in zip(score[:-1].unbind(), score[1:].unbind(), emit.unbind(), strict=True):
        best, step = (before.unfold(1, 3, 1) + way).max(-1)
        torch.add(best, frame, out=now[:, 2:])
        came.append(step)
    end = torch.stack([2 * target_lengths - 1, 2 * target_lengths], dim=1).clamp(min=0)
    last = lengths[None, :, None].expand(1, B, S)
    value, which = score[..., 2:].gather(0, last)[0].gather(1, end).max(1)
    state = end.gather(1, which[:, None])
    behind = torch.arange(T, device=device)[:, None, None] >= lengths[:, None]  # the last state
    back = (2 - torch.stack(came)).masked_fill(behind, 0)
    path = []
    for step in reversed(back.unbind()):
        path.append(state)
        state = state - step.gather(1, state)
    return torch.cat(path[::-1], dim=1), value


def durations(path: Tensor, lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Turns states into frames per token.

    CTC emits a token in a few frames and blanks around it: the blanks between two tokens are shared half and half, those before the first
    are its own, and those behind the last are shared with the end of sentence.

    Args:
        path: (B, T) states of `viterbi`.

    Returns:
        (B, L + 1) frames; entry `target_lengths` is the end of sentence; rows sum to `lengths`.
    """
    B, T = path.shape
    L = int(target_lengths.max())
    device = path.device
    time = torch.arange(T, device=device).expand(B, T)
    sounding = (path % 2 == 1) & (time < lengths[:, None])
    index = torch.where(sounding, path // 2, torch.full_like(path, L)).clamp(max=L)
    first = torch.full((B, L + 1), T, device=device).scatter_reduce(1, index, time, "amin")[:, :L]
    final = torch.full((B, L + 1), -1, device=device).scatter_reduce(1, index, time, "amax")[:, :L]
    following = torch.cat([first[:, 1:], torch.full((B, 1), T, device=device)], dim=1)
    is_last = torch.arange(L, device=device) == target_lengths[:, None] - 1
    following = torch.where(is_last, lengths[:, None], following)
    edge = (final + 1 + following + 1) // 2  # the first frame that no longer belongs to the token
    valid = within(target_lengths, L)
    edge = torch.where(valid, edge, lengths[:, None])
    edges = torch.cat([torch.zeros((B, 1), dtype=torch.long, device=device), edge, lengths[:, None]], dim=1)
    return edges.diff(dim=1).clamp(min=0)


def duration_spread(texts: Iterable[str], frames: Iterable[Sequence[int] | NDArray[np.int64]]) -> float:
    """Root mean square deviation of ln(frames + 1) from the mean of the same token, over tokens that occur more than once.

    Args:
        texts: tokens joined by spaces.
        frames: (L + 1,) of each text.

    Returns:
        0 where every token always takes the same time (and where none occurs twice).
    """
    seen: dict[str, list[float]] = defaultdict(list)
    for text, row in zip(texts, frames, strict=True):
        for token, count in zip(text.split(), row, strict=False):
            seen[token].append(float(np.log(float(count) + 1)))
    squares = [(value - np.mean(values)) ** 2 for values in seen.values() if len(values) > 1 for value in values]
    return float(np.sqrt(np.mean(squares))) if squares else 0.0
