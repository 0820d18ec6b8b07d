"""Who speaks: the voices of a corpus, each with an embedding, and the encoder that makes them.

The encoder is an x-vector network (Snyder et al. 2018, "X-vectors: robust DNN embeddings for speaker recognition") on the log-mel that all
models share. It is trained on the corpus by a contrastive loss, which needs no labels: two parts of a recording share a voice, parts of
others do not, unless they are known to be of the same speaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cycle.data.batch import Batch, Loss, within
from cycle.data.types import Speech
from cycle.device import send
from cycle.models.augment import vary
from cycle.settings import Augment, VoiceModel

# Of each part by itself. Not the mel axis, on which voices differ, and not loudness, which the encoder does not hear.
CHANNEL = Augment(speed=0.1, warp=0.0, gain=0.0, noise=0.2)


@dataclass(frozen=True)
class Voices:
    """The voices of an experiment. Files may stand behind the arrays: a million voices cost what is looked at.

    Attributes:
        speakers: (N,) ids, sorted. A recording whose speaker nobody knows is a voice by itself, under its utterance id.
        f0: mean and standard deviation of the log pitch over the paired pool.
        energy: the same of the mean feature of a frame.
        vectors: (N, D) embeddings; None where there is only one voice.
    """

    speakers: Sequence[str] | NDArray[np.str_]
    f0: tuple[float, float]
    energy: tuple[float, float]
    vectors: NDArray[Any] | None = None

    @property
    def size(self) -> int | None:
        """Numbers an embedding has, None where there is only one voice."""
        return None if self.vectors is None else int(self.vectors.shape[1])

    def embeddings(self, spks: Sequence[str], device: torch.device) -> Tensor:
        """(B, D) of speakers. Raises as `places` does."""
        assert self.vectors is not None
        rows = self.vectors[places(np.asarray(self.speakers), spks)]
        return torch.from_numpy(np.asarray(rows, np.float32)).to(device, non_blocking=True)


def places(known: NDArray[np.str_], spks: Sequence[str]) -> NDArray[np.int64]:
    """(B,) where speakers stand in a sorted array.

    Raises:
        KeyError: one that is not there.
    """
    found = np.searchsorted(known, np.array(spks, known.dtype)).clip(max=len(known) - 1)  # of one width, else the whole is copied
    for spk, place in zip(spks, found.tolist(), strict=True):
        if known[place] != spk:
            raise KeyError(spk)
    return found


def contrast(vectors: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, equation 2; with pairs alone, SimCLR's).

    Args:
        vectors: (N, D) of length one.
        groups: (N,) equal for vectors of one voice.

    Returns:
        the mean of -log softmax of the similarity to each other member of the group, among all others; groups of one are left out.
    """
    alone = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logp = (vectors @ vectors.T / temperature).masked_fill(alone, -torch.inf).log_softmax(1)
    same = (groups[:, None] == groups) & ~alone
    each = logp.masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp(min=1)
    several = same.any(1)
    return -(each * several).sum() / several.sum().clamp(min=1)


def part(speech: Speech, longest: int) -> tuple[Speech, Speech]:
    """Cuts each utterance in two at a random place of its middle third; one that has a single frame is both parts.

    Args:
        longest: frames of a part at most: the last before the cut, the first behind it.

    Returns:
        two of (B, T' <= longest, M).
    """
    lengths = speech.lengths
    cut = (lengths * (1 + torch.rand(len(lengths), device=lengths.device)) / 3).long().clamp(min=1)
    middle = torch.minimum(cut, lengths - 1)
    return window(speech, (cut - longest).clamp(min=0), cut, longest), window(speech, middle, lengths, longest)


def window(speech: Speech, start: Tensor, end: Tensor, longest: int) -> Speech:
    """The frames of each utterance from `start`, to `end` or `longest` of them."""
    lengths = (end - start).clamp(max=longest)
    steps = torch.arange(min(longest, speech.feats.size(1)), device=start.device)
    rows = (start[:, None] + steps).clamp(max=speech.feats.size(1) - 1)
    feats = speech.feats.gather(1, rows[..., None].expand(-1, -1, speech.feats.size(2)))
    return Speech(feats * (steps < lengths[:, None])[..., None], lengths)


class VoiceEncoder(nn.Module):
    """Log-mel to an embedding: convolutions over widening views, mean and deviation over time, one layer."""

    def __init__(self, n_mels: int, conf: VoiceModel):
        super().__init__()
        self.conf = conf
        c = conf.channels
        shapes = ((n_mels, 5, 1), (c, 3, 2), (c, 3, 3), (c, 1, 1))  # channels in, frames, dilation
        self.convs = nn.ModuleList(nn.Conv1d(n, c, k, padding=k // 2 * d, dilation=d) for n, k, d in shapes)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for _ in shapes)
        self.out = nn.Linear(2 * c, conf.size)

    def forward(self, speech: Speech) -> Tensor:
        """(B, D) of length one. What is behind an utterance's end has no influence, and neither has its loudness."""
        inside = within(speech.lengths, speech.feats.size(1))[..., None]
        frames = speech.lengths[:, None]
        level = (speech.feats.mean(-1, keepdim=True) * inside).sum(1, keepdim=True) / frames[..., None]
        x = (speech.feats - level) * inside
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x.transpose(1, 2)).transpose(1, 2)).relu() * inside
        mean = x.sum(1) / frames
        variance = ((x - mean[:, None]) ** 2 * inside).sum(1) / frames
        return nn.functional.normalize(self.out(torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1)).float(), dim=-1)

    def loss(self, batch: Batch) -> Loss:
        assert batch.speech is not None
        numbers = {spk: n for n, spk in enumerate(dict.fromkeys(batch.spks))}
        groups = send([numbers[spk] for spk in batch.spks] * 2, batch.speech.feats.device)
        vectors = torch.cat([self(vary(half, CHANNEL)) for half in part(batch.speech, self.conf.longest)])
        value = contrast(vectors, groups, self.conf.temperature)
        return Loss(value, len(batch.spks), {"loss": value.detach()})

    @torch.no_grad()
    def embed(self, speech: Speech) -> Tensor:
        """(B, D) without gradient."""
        vectors: Tensor = self(speech)
        return vectors
