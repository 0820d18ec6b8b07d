"""What the cycle asks of a TTS model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cycle.data.batch import Batch, Loss
from cycle.data.types import Speech


@dataclass(frozen=True)
class Variation:
    """How far synthetic speech may stray from the mean rendering; see `cycle.config.Speak`."""

    duration: float = 0.0
    speed: float = 0.0
    pitch: float = 0.0
    energy: float = 0.0


@dataclass
class Rendering:
    """Synthetic speech with what the synthesiser decided.

    Attributes:
        durations: (B, L + 1) frames per token.
        pitch: (B, L + 1) in standard deviations of the corpus; None where the model has none.
    """

    speech: Speech
    durations: Tensor | None = None
    pitch: Tensor | None = None


class Synthesizer(Protocol):
    """Text to features. Texts are tokens joined by spaces."""

    def loss(self, batch: Batch) -> Loss:
        """The supervised loss of `batch.speech` given `batch.texts`."""
        ...

    def synthesize(
        self,
        texts: Sequence[str],
        spks: Sequence[str],
        grad: bool = False,
        variation: Variation | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """Speaks texts in batches, without training noise; with `grad`, features carry gradients to the parameters."""
        ...

    def score(self, batch: Batch) -> Tensor:
        """(B,) how well each text explains its recording; higher is better, no gradient."""
        ...
