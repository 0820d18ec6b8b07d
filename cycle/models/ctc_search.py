"""CTC search in batches: pure functions on emissions (B, T, V) in natural log, blank 0.

Prefix beam search after Graves 2006 and Hannun et al. 2014 (arXiv:1408.2873): every hypothesis carries the probability of all its paths.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cycle.data.batch import within

BLANK = 0
NEVER = -1e30  # a log-probability; sums of it stay finite


def greedy(logp: Tensor, lengths: Tensor) -> tuple[list[list[int]], Tensor]:
    """Best path, collapsed.

    Returns:
        token ids per utterance, and (B,) log-probability of the path.
    """
    inside = within(lengths, logp.size(1))
    best, ids = logp.max(-1)
    return collapse(ids, lengths), (best * inside).sum(1)


def collapse(paths: Tensor, lengths: Tensor) -> list[list[int]]:
    """What (B, T) paths say in their first `lengths` frames: repetitions once, blanks left out."""
    inside = within(lengths, paths.size(1))
    ids = paths.masked_fill(~inside, BLANK)
    fresh = torch.ones_like(inside)
    fresh[:, 1:] = ids[:, 1:] != ids[:, :-1]
    keep = fresh & (ids != BLANK)
    counts, tokens = _closed_up(ids.masked_fill(~keep, BLANK))
    return [row[1 : 1 + row[0]] for row in torch.cat([counts[:, None], tokens], dim=1).tolist()]  # one copy from the device


def prefix_beam(logp: Tensor, lengths: Tensor, beam: int = 8, top_k: int = 16) -> list[list[tuple[list[int], float]]]:
    """Prefix beam search over a batch.

    Args:
        logp: (B, T, V) log-probabilities.
        lengths: (B,) frames.
        beam: prefixes kept per utterance.
        top_k: tokens that may extend a prefix in one frame (the most probable ones).

    Returns:
        per utterance up to `beam` (token ids, log-probability over all paths), best first.

    Each frame, a prefix either stays (a blank, or its last token repeated) or grows by a token. A grown prefix that equals another one that
    stayed is the same hypothesis: equality is found by a hash of the prefix, and the probabilities are added.
    """
    B, T, V = logp.shape
    W, K = beam, min(top_k, V - 1)
    device = logp.device
    rows = torch.arange(B, device=device)[:, None]
    logp = _ended(logp.float(), lengths)
    tops, tokens = logp[..., 1:].topk(K, dim=-1)  # for all frames at once: what is in the loop costs a launch a frame
    tokens = tokens + 1
    blank = torch.full((B, W), NEVER, device=device)  # log-probability of the paths that end in a blank
    blank[:, 0] = 0.0
    token = torch.full((B, W), NEVER, device=device)  # of those that end in the last token
    last = torch.zeros((B, W), dtype=torch.long, device=device)
    key = torch.zeros((B, W), dtype=torch.long, device=device)
    key += torch.arange(W, device=device) * -7919 * (blank < -1)  # unused places must not look equal
    parents: list[Tensor] = []  # per frame (B, W): place in the frame before
    grown: list[Tensor] = []  # per frame (B, W): token added, 0 for none
    for t in range(T):
        frame, top, ids = logp[:, t], tops[:, t], tokens[:, t]
        total = torch.logaddexp(blank, token)
        stay_blank = total + frame[:, :1]
        stay_token = torch.where(last > 0, token + frame.gather(1, last), torch.full_like(token, NEVER))
        same = ids[:, None, :] == last[:, :, None]
        grow = torch.where(same, blank[:, :, None], total[:, :, None]) + top[:, None, :]  # (B, W, K)
        grow_key = key[:, :, None] * 1_000_003 + ids[:, None, :]
        equal = grow_key[:, :, :, None] == key[:, None, None, :]  # (B, W, K, W)
        merged = torch.where(equal, grow[..., None], torch.full((), NEVER, device=device)).flatten(1, 2).logsumexp(1)
        stay_token = torch.logaddexp(stay_token, merged)
        grow = grow.masked_fill(equal.any(-1), NEVER)
        scores = torch.cat([torch.logaddexp(stay_blank, stay_token), grow.flatten(1)], dim=1)
        _, chosen = scores.topk(W, dim=1)
        stays = chosen < W
        place = torch.where(stays, chosen, (chosen - W) // K)
        added = torch.where(stays, torch.zeros_like(chosen), ids.gather(1, ((chosen - W) % K).clamp(min=0)))
        blank = torch.where(stays, stay_blank[rows, place], torch.full_like(blank, NEVER))
        token = torch.where(stays, stay_token[rows, place], scores.gather(1, chosen))
        last, before = torch.where(stays, last[rows, place], added), key[rows, place]
        key = torch.where(stays, before, before * 1_000_003 + added)
        parents.append(place)
        grown.append(added)
    return _trace(torch.logaddexp(blank, token), parents, grown)


def _ended(logp: Tensor, lengths: Tensor) -> Tensor:
    """Says nothing but blanks, and these for certain, behind an utterance's last frame: its beam stays as it is."""
    behind = ~within(lengths, logp.size(1))[..., None]
    silence = torch.full((logp.size(-1),), NEVER, device=logp.device)
    silence[BLANK] = 0.0
    return torch.where(behind, silence, logp)


def _trace(score: Tensor, parents: list[Tensor], grown: list[Tensor]) -> list[list[tuple[list[int], float]]]:
    """Follows the beams back and spells the prefixes out."""
    score, order = score.sort(dim=1, descending=True)
    place, steps = order, []
    for parent, added in zip(reversed(parents), reversed(grown), strict=True):
        steps.append(added.gather(1, place))
        place = parent.gather(1, place)
    counts, tokens = _closed_up(torch.stack(steps[::-1], dim=-1) if steps else torch.zeros((*score.shape, 0), dtype=torch.long))
    sizes = counts.tolist()
    spelled = tokens[..., : max(map(max, sizes), default=0)].tolist()
    return [
        [(row[:size], value) for row, size, value in zip(*beams, strict=True) if value > NEVER / 2]
        for beams in zip(spelled, sizes, score.tolist(), strict=True)
    ]


def _closed_up(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the tokens of (..., T) rows to the front, blanks behind them; returns also how many there are, (...)."""
    kept = tokens != BLANK
    place = torch.where(kept, kept.cumsum(-1) - 1, tokens.size(-1))
    room = torch.zeros((*tokens.shape[:-1], tokens.size(-1) + 1), dtype=tokens.dtype, device=tokens.device)
    return kept.sum(-1), room.scatter(-1, place, tokens)[..., :-1]
