"""What an objective receives and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cycle.data.types import Speech

TOKENS = 8  # where batches should have few shapes, texts are padded to a multiple of it


class Hypothesis(NamedTuple):
    """A transcript with its natural-log score given the speech.

    By prefix beam search its probability, every CTC path summed; by greedy search that of the best path; by the others the score that
    ranked it.
    """

    text: str
    logp: float


@dataclass
class Batch:
    """B utterances; what a stream lacks is None.

    Attributes:
        texts: tokens joined by spaces.
        speech: (B, T, M) features.
        f0: (B, T) log pitch.
        durations: (B, L + 1) frames per token, the last behind a text for the silence at its end.
        nbest: per utterance, hypotheses with a score: the synthesiser's (`speech`), or their probability (`labelled`).
        share: of the utterances of a batch that several ranks work on.
    """

    utt_ids: list[str]
    spks: list[str]
    texts: list[str]
    speech: Speech | None = None
    f0: Tensor | None = None
    durations: Tensor | None = None
    nbest: list[list[tuple[str, float]]] = field(default_factory=list)
    share: float = 1.0

    def to(self, device: torch.device) -> Batch:
        """The same on a device, in single precision; half of it travels where it is stored so."""
        speech = self.speech.to(device) if self.speech else None
        f0 = self.f0.to(device, non_blocking=True).float() if self.f0 is not None else None
        durations = self.durations.to(device, non_blocking=True) if self.durations is not None else None
        return replace(self, speech=speech, f0=f0, durations=durations)

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU can fetch by itself."""
        speech = Speech(self.speech.feats.pin_memory(), self.speech.lengths.pin_memory(), self.speech.known) if self.speech else None
        f0 = self.f0.pin_memory() if self.f0 is not None else None
        durations = self.durations.pin_memory() if self.durations is not None else None
        return replace(self, speech=speech, f0=f0, durations=durations)


@dataclass
class Loss:
    """ESPnet's triple: the value to minimise, the number of utterances it averages, what to log.

    Attributes:
        means: (P,) whose sum the value is, where it is more than one mean, or none over so many utterances.
        counts: (P,) how many things each of them averages.
    """

    value: Tensor
    weight: int
    stats: dict[str, float | Tensor]
    means: Tensor | None = None
    counts: Sequence[int] | Tensor | None = None


def first_texts(lists: Sequence[Sequence[Hypothesis]]) -> list[str]:
    """The best transcript of each N-best list; the empty text where nothing was found."""
    return [hyps[0].text if hyps else "" for hyps in lists]


def round_up(size: int, step: int) -> int:
    """The next multiple of a step: batches of fewer shapes."""
    return -(-size // step) * step


def within(lengths: Tensor, width: int) -> Tensor:
    """(B, width) true for the first `lengths` (B,) places of each row."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def pad(rows: Sequence[NDArray[np.generic]], width: int | None = None) -> Tensor:
    """Stacks arrays (T_i, ...) into (B, max T, ...), or a given width, zero behind the end."""
    out = np.zeros((len(rows), width or max(len(r) for r in rows), *rows[0].shape[1:]), rows[0].dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def speech_of(rows: Sequence[NDArray[np.generic]], width: int | None = None) -> Speech:
    """Pads feature arrays (T_i, M) into a batch."""
    return Speech(pad(rows, width), torch.tensor([len(r) for r in rows]))
