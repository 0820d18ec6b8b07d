"""What the cycle asks of a TTS model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cycle.data.batch import Batch, Loss, within
from cycle.data.types import Speech
from cycle.device import send


@dataclass(frozen=True)
class Variation:
    """How far synthetic speech may stray from the mean rendering; see `cycle.settings.Speak`."""

    duration: float = 0.0
    speed: float = 0.0
    pitch: float = 0.0
    energy: float = 0.0


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the synthesiser as a random policy; stated, not learnt.

    Attributes:
        duration: of ln(frames + 1), per token; pitch, energy: per token, in standard deviations of the corpus (FastSpeech2).
        frame: of each value of a frame (Tacotron 2).
    """

    duration: float = 0.15
    pitch: float = 0.3
    energy: float = 0.3
    frame: float = 0.2


@dataclass
class Action:
    """What the policy decides, and all that its likelihood speaks of; the rendering follows from it without further chance.

    Attributes:
        values: (B, S, D), zero behind the end. FastSpeech2: ln(frames + 1), pitch and energy of each token and of the sentence end.
            Tacotron 2: frames before the postnet.
        lengths: (B,) steps.
    """

    values: Tensor
    lengths: Tensor


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


def gaussian_logp(values: Tensor, means: Tensor, stds: Sequence[float], lengths: Tensor) -> Tensor:
    """Log-density of independent Gaussians.

    Args:
        values, means: (B, S, D); stds: D of them, or one for all.
        lengths: (B,) steps that count.

    Returns:
        (B,), summed over steps and dimensions.
    """
    std = send(stds, means.device)
    each = -0.5 * ((values - means.float()) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
    inside = within(lengths, values.size(1))
    return (each.sum(-1) * inside).sum(1)


class Synthesizer(Protocol):
    """Text to features. Texts are tokens joined by spaces."""

    @property
    def needs_durations(self) -> bool:
        """True where frames per token are given, false where the model finds them itself, frame after frame."""
        ...

    def loss(self, batch: Batch, own_inputs: float = 0.0) -> Loss:
        """The supervised loss of `batch.speech` given `batch.texts`.

        Args:
            own_inputs: share of the steps at which an autoregressive decoder reads its own last frame (scheduled sampling).
        """
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

    def score(self, batch: Batch, soft: Tensor | None = None, grad: bool = False) -> Tensor:
        """(B,) how well each text explains its recording; higher is better.

        Args:
            soft: (B, L, V) one-hot tokens of `batch.texts` that carry a gradient, embedded in their place.
            grad: with gradient to the parameters and to `soft`.
        """
        ...

    def sample(self, texts: Sequence[str], spks: Sequence[str], spread: Spread) -> tuple[Action, Speech]:
        """Draws a rendering of each text from the Gaussian policy, without gradient and training noise."""
        ...

    def action(self, batch: Batch) -> Action:
        """What the policy would have had to decide to speak like the recordings."""
        ...

    def logp(self, texts: Sequence[str], spks: Sequence[str], action: Action, spread: Spread) -> Tensor:
        """(B,) log-density of actions under the Gaussian policy, with gradient, without training noise."""
        ...
