"""CTC search in batches: pure functions on emissions (B, T, V) in natural log, blank 0.

Prefix beam search after Graves 2006 and Hannun et al. 2014 (arXiv:1408.2873): every hypothesis carries the probability of all its paths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cycle.data.batch import within
from cycle.device import Later, fetch

BLANK = 0
NEVER = -1e30  # a log-probability; sums of it stay finite
FACTOR = 1_000_003  # of the hash of a prefix


type Spelled = list[list[tuple[list[int], float]]]  # per utterance token ids with their log-probability, best first


@dataclass(frozen=True)
class Beams:
    """What a search has found, on the device still: W hypotheses of each utterance, best first.

    Attributes:
        tokens: (B, W, T) ids, blanks behind the last.
        sizes: (B, W) how many.
        logp: (B, W); NEVER where there is no hypothesis, and no number where the emissions are none: nothing was heard then.
    """

    tokens: Tensor
    sizes: Tensor
    logp: Tensor

    def fetch(self) -> Later[Spelled]:
        """Begins to bring them to the host."""
        coming = fetch(torch.cat([self.sizes[..., None], self.tokens], dim=-1).int(), self.logp)

        def spell() -> Spelled:
            rows, values = coming()
            longest = int(rows[..., 0].max()) if rows.numel() else 0
            each = zip(rows[..., : 1 + longest].tolist(), values.tolist(), strict=True)
            return [[(row[1 : 1 + row[0]], value) for row, value in zip(*beams, strict=True) if value > NEVER / 2] for beams in each]

        return spell

    def lists(self) -> Spelled:
        """Waits for them."""
        return self.fetch()()


def greedy(logp: Tensor, lengths: Tensor) -> Beams:
    """The best path, collapsed, with its log-probability: one hypothesis an utterance."""
    inside = within(lengths, logp.size(1))
    best, ids = logp.max(-1)
    sizes, tokens = _collapsed(ids, lengths)
    return Beams(tokens[:, None], sizes[:, None], (best * inside).sum(1, keepdim=True))


def collapse(paths: Tensor, lengths: Tensor) -> list[list[int]]:
    """What (B, T) paths say in their first `lengths` frames: repetitions once, blanks left out."""
    sizes, tokens = _collapsed(paths, lengths)
    return [row[1 : 1 + row[0]] for row in torch.cat([sizes[:, None], tokens], dim=1).tolist()]  # one copy from the device


def _collapsed(paths: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) how many tokens (B, T) paths say, and (B, T) which, blanks behind them."""
    ids = paths.masked_fill(~within(lengths, paths.size(1)), BLANK)
    fresh = torch.ones_like(ids, dtype=torch.bool)
    fresh[:, 1:] = ids[:, 1:] != ids[:, :-1]
    return _closed_up(ids.masked_fill(~fresh, BLANK))


def prefix_beam(logp: Tensor, lengths: Tensor, beam: int = 8, top_k: int = 16) -> Beams:
    """Prefix beam search over a batch.

    Args:
        logp: (B, T, V) log-probabilities.
        lengths: (B,) frames.
        beam: prefixes kept per utterance.
        top_k: tokens that may extend a prefix in one frame (the most probable ones).

    Returns:
        up to `beam` hypotheses an utterance, with their log-probability over all paths.

    Each frame, a prefix either stays (a blank, or its last token repeated) or grows by a token. A grown prefix that equals another one that
    stayed is the same hypothesis: equality is found by a hash of the prefix, and the probabilities are added.
    """
    (B, _, V), device = logp.shape, logp.device
    W, K = beam, min(top_k, V - 1)
    logp = _ended(logp.float(), lengths)
    tops, tokens = logp[..., 1:].topk(K, dim=-1)  # for all frames at once: what is in the loop costs a launch a frame
    tokens = torch.nn.functional.pad(tokens + 1, (0, 1))  # and one more, 0, for a prefix that stays
    # What comes of a frame, W prefixes that stay and W K that grow: whose they are, and where in `tokens` what they say is.
    origin = torch.cat([torch.arange(W, device=device), torch.arange(W * K, device=device) // K])
    said = torch.cat([torch.full((W,), K, device=device), torch.arange(W * K, device=device) % K])
    blank = torch.full((B, W), NEVER, device=device)  # log-probability of the paths that end in a blank
    blank[:, 0] = 0.0
    token = torch.full((B, W), NEVER, device=device)  # of those that end in the last token; NEVER for a prefix without any
    last = torch.zeros((B, W), dtype=torch.long, device=device)
    nobody = torch.arange(W, device=device) * -7919  # keys of places without a prefix, which must not look equal
    key = nobody.repeat(B, 1)
    parents: list[Tensor] = []  # per frame (B, W): place in the frame before
    grown: list[Tensor] = []  # per frame (B, W): token added, 0 for none
    for frame, top, ids in zip(logp.unbind(1), tops.unbind(1), tokens.unbind(1), strict=True):
        total = torch.logaddexp(blank, token)
        grow = torch.where(ids[:, None, :K] == last[:, :, None], blank[:, :, None], total[:, :, None]) + top[:, None]  # (B, W, K)
        equal = torch.add(ids[:, None, :K], key[:, :, None], alpha=FACTOR)[..., None] == key[:, None, None]  # (B, W, K, W)
        merged = torch.where(equal, grow[..., None], NEVER).amax((1, 2))  # prefixes differ, so that one at most is equal
        stay_blank = total + frame[:, :1]
        stay_token = torch.logaddexp(token + frame.gather(1, last), merged)
        grow = grow.masked_fill(equal.any(-1), NEVER)
        best, chosen = torch.cat([torch.logaddexp(stay_blank, stay_token), grow.flatten(1)], dim=1).topk(W, dim=1)
        place, added = origin[chosen], ids.gather(1, said[chosen])
        stays = added == BLANK
        blank = torch.where(stays, stay_blank.gather(1, place), NEVER)
        token = torch.where(stays, stay_token.gather(1, place), best)
        last = torch.where(stays, last.gather(1, place), added)
        before = key.gather(1, place)
        key = torch.where(best > NEVER / 2, torch.where(stays, before, torch.add(added, before, alpha=FACTOR)), nobody)
        parents.append(place)
        grown.append(added)
    return _trace(torch.logaddexp(blank, token), parents, grown)


def _ended(logp: Tensor, lengths: Tensor) -> Tensor:
    """Says nothing but blanks, and these for certain, behind an utterance's last frame: its beam stays as it is."""
    behind = ~within(lengths, logp.size(1))[..., None]
    silence = torch.full((logp.size(-1),), NEVER, device=logp.device)
    silence[BLANK] = 0.0
    return torch.where(behind, silence, logp)


def _trace(score: Tensor, parents: list[Tensor], grown: list[Tensor]) -> Beams:
    """Follows the beams back."""
    score, order = score.sort(dim=1, descending=True)
    place, steps = order, []
    for parent, added in zip(reversed(parents), reversed(grown), strict=True):
        steps.append(added.gather(1, place))
        place = parent.gather(1, place)
    sizes, tokens = _closed_up(torch.stack(steps[::-1], dim=-1) if steps else order.new_zeros((*order.shape, 0)))
    return Beams(tokens, sizes, score)


def _closed_up(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the tokens of (..., T) rows to the front, blanks behind them; returns also how many there are, (...)."""
    kept = tokens != BLANK
    place = torch.where(kept, kept.cumsum(-1) - 1, tokens.size(-1))
    room = torch.zeros((*tokens.shape[:-1], tokens.size(-1) + 1), dtype=tokens.dtype, device=tokens.device)
    return kept.sum(-1), room.scatter(-1, place, tokens)[..., :-1]
