"""The models' own losses on speech with a text, whoever wrote it: people, the recogniser (pseudo-labels) or the synthesiser (synthetic)."""

from __future__ import annotations

from cycle.data.batch import Batch, Loss
from cycle.data.kinds import ALIGNED, TEXTS
from cycle.objectives.base import Models, Name


class AsrSupervised:
    """ESPnet's CTC/attention loss."""

    trains: frozenset[Name] = frozenset({"asr"})
    streams = TEXTS
    graphs = True

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        return models.asr.loss(batch)


class TtsSupervised:
    """ESPnet's synthesis loss: features, and for FastSpeech2 durations, pitch and energy."""

    trains: frozenset[Name] = frozenset({"tts"})
    streams = ALIGNED
    graphs = True

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        return models.tts.loss(batch)
