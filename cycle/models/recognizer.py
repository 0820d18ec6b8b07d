"""What the cycle asks of an ASR model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor

from cycle.data.batch import Batch, Hypothesis, Loss
from cycle.data.types import Speech
from cycle.device import Later
from cycle.settings import Search

Branch = Literal["ctc", "attention"]
UNFIT = -1e4  # log-probability of a text that needs more frames than there are


class Recognizer(Protocol):
    """Speech to text. Texts are tokens joined by spaces; token ids stay inside.

    Two branches give probabilities to texts, each a distribution over all of them: `ctc` sums over its paths, `attention` multiplies
    tokens up to the end. A temperature divides the logits, of sampling and of scoring alike.
    """

    def loss(self, batch: Batch, own_inputs: float = 0.0) -> Loss:
        """The supervised loss of `batch.speech` against `batch.texts`.

        Args:
            own_inputs: share of the attention decoder's inputs that it draws itself (scheduled sampling).
        """
        ...

    def nbest_loss(self, speech: Speech, texts: Sequence[Sequence[str]], weights: Tensor) -> Loss:
        """The same against N texts for each utterance, with (B, N) weights."""
        ...

    def transcribe(self, speech: Speech, search: Search) -> list[list[Hypothesis]]:
        """N-best lists, best first, without gradient and training noise."""
        ...

    def listen(self, speech: Speech, search: Search) -> Later[list[list[Hypothesis]]]:
        """`transcribe`, begun: the lists come when what it returns is called, and the device can be given other work before."""
        ...

    def as_in_training(self, speech: Speech) -> Speech:
        """A random variation of speech (augmentation, SpecAugment), for objectives whose samples and scores are to hear the same one."""
        ...

    def sample(self, speech: Speech, n: int = 1, temperature: float = 1.0, by: Branch = "ctc") -> list[list[str]]:
        """n texts drawn for each utterance, without gradient and training noise; temperature 0 is greedy."""
        ...

    def logp(self, speech: Speech, texts: Sequence[Sequence[str]], by: Branch = "ctc", temperature: float = 1.0) -> Tensor:
        """(B, N) log-probability of N texts for each utterance, with gradient, without training noise; UNFIT where a text does not fit."""
        ...

    def soft_tokens(self, speech: Speech, texts: Sequence[str], temperature: float) -> Tensor:
        """(B, L, V) one-hot tokens of texts that the attention branch drew, with its gradient (straight-through Gumbel)."""
        ...
