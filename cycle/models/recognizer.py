"""What the cycle asks of an ASR model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from cycle.config import Search
from cycle.data.batch import Batch, Hypothesis, Loss
from cycle.data.types import Speech

UNFIT = -1e4  # log-probability of a text that needs more frames than there are


class Recognizer(Protocol):
    """Speech to text. Texts are tokens joined by spaces; token ids stay inside."""

    def loss(self, batch: Batch) -> Loss:
        """The supervised loss of `batch.speech` against `batch.texts`."""
        ...

    def transcribe(self, speech: Speech, search: Search) -> list[list[Hypothesis]]:
        """N-best lists, best first, without gradient and training noise."""
        ...

    def logp(self, speech: Speech, texts: Sequence[Sequence[str]]) -> Tensor:
        """(B, N) log-probability of N texts for each utterance, with gradient, without training noise; UNFIT where a text does not fit."""
        ...
