"""What a recipe's `reward:` means for a batch of transcripts: names of rewards become numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cycle import rewards
from cycle.data.batch import Batch
from cycle.data.text import Units
from cycle.errors import UserError
from cycle.eval.cider import CiderD
from cycle.objectives.base import Models, Origin
from cycle.rewards import Reward

NAMES = ("error_rate", "cider", "round_trip", "text_prior", "teacher")


class TextJudge:
    """Judges transcripts.

    Args:
        reward: name: weight; `error_rate` needs the batch's true texts, `cider` is CIDEr-D against all texts of a paired clip,
            `round_trip` the synthesiser's score of the recording under the transcript's own alignment, `text_prior` the n-gram's
            log-probability per token, `teacher` minus the errors to be expected if the round's labels are right about what was said:
            for recordings without text, on the stream `labelled`.
        level: unit of the error rate: token, syllable, word, char, ...

    Raises:
        UserError: no such reward.
    """

    def __init__(self, reward: Mapping[str, float], level: str = "token"):
        self.weights, self.level = rewards.named(reward, NAMES, "reward"), level
        self.needs_texts, self.needs_labels = bool({"error_rate", "cider"} & self.weights.keys()), "teacher" in self.weights
        self.units: Units = list
        self.origin: Origin | None = None

    def begin(self, origin: Origin) -> None:
        """Raises UserError for a reward that the experiment cannot give."""
        self.origin, self.units = origin, rewards.units(origin.language, self.level)
        if "round_trip" in self.weights and "tts" not in origin.models:
            raise UserError("reward: round_trip needs a synthesiser, and none is trained", "args", f"choose among: {', '.join(NAMES[:2])}")
        if "cider" in self.weights:
            self.cider = CiderD(origin.references)
            if self.cider.frequencies.clips < 2:
                raise UserError("reward: cider needs two clips: with one, every word is in every clip", "args", "give more paired data")

    def __call__(self, batch: Batch, lists: Sequence[Sequence[str]], models: Models) -> tuple[Tensor, Tensor]:
        """Rewards of N transcripts an utterance.

        Returns:
            (B, N), and (B, N) false where a reward cannot judge or a list is shorter.
        """
        places = [i for i, row in enumerate(lists) for _ in row]
        flat = [text for row in lists for text in row]
        parts = [(weight, self._values(name, batch, places, flat, models)) for name, weight in self.weights.items()]
        found = iter(rewards.mixture(parts))
        device = batch.speech.feats.device if batch.speech is not None else torch.device("cpu")
        return rewards.table([[next(found) for _ in row] for row in lists], device)

    def _values(self, name: str, batch: Batch, places: list[int], texts: list[str], models: Models) -> list[Reward]:
        if name == "error_rate":
            return rewards.error_rate(texts, [batch.texts[i] for i in places], self.units)
        assert self.origin is not None, "begin() comes first"
        if name == "cider":
            return rewards.cider(texts, [batch.utt_ids[i] for i in places], self.cider)
        if name == "teacher":
            return rewards.expected_error_rate(texts, places, batch.nbest, self.units)
        if name == "text_prior":
            return rewards.text_prior(texts, self.origin.prior)
        return rewards.reconstruction(batch, places, texts, models.tts, self.origin.aligner)


def skipped(valid: Tensor) -> Tensor:
    """The share of transcripts that could not be judged."""
    return 1 - valid.float().mean()
