"""text -> TTS -> synthetic speech: the text pool spoken in batches, kept as features, no vocoder in between."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric

from cycle.config import Search, Speak
from cycle.data.features import FeatureStore, ShardWriter
from cycle.models.recognizer import Recognizer
from cycle.models.synthesizer import Synthesizer, Variation
from cycle.train.streams import Stream, seed_of

log = logging.getLogger("cycle")
SHARD = 2048  # sentences


@dataclass(frozen=True)
class Spoken:
    """One sentence of the text pool as the synthesiser says it.

    Attributes:
        heard: what the recogniser makes of it (greedy).
        row: place in the store.
    """

    utt: str
    spk: str
    text: str
    frames: int
    heard: str
    row: int
    finite: bool
    duration_std: float  # of log-duration over the sentence's tokens
    pitch_std: float  # of pitch over the sentence's tokens, in standard deviations of the corpus


def choose_sentences(stream: Stream, count: int, number: int) -> Stream:
    """The `count` sentences of a round: the pool is walked through round after round, in the order it has."""
    if not 0 < count < len(stream):
        return stream
    first = (number - 1) * count
    return stream.subset([(first + i) % len(stream) for i in range(count)])


def draw_speakers(stream: Stream, speakers: list[str], seed: int) -> list[str]:
    """A speaker for each sentence, the same at every resume."""
    rng = np.random.default_rng(seed_of(seed, "speakers"))
    return [speakers[i] for i in rng.integers(len(speakers), size=len(stream))]


def speak_pool(
    folder: Path, stream: Stream, tts: Synthesizer, asr: Recognizer, conf: Speak, seed: int, fabric: Fabric
) -> tuple[FeatureStore, list[Spoken]]:
    """Speaks a stream of texts with speakers, shard by shard; finished shards are read back."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(stream), SHARD)):
        writer = ShardWriter(folder, number)
        if not writer.done:
            _speak(writer, stream.subset(range(start, min(start + SHARD, len(stream)))), tts, asr, conf, seed_of(seed, number), fabric)
            writer.close()
    store = FeatureStore(folder)
    return store, [Spoken(row=i, **row) for i, row in enumerate(store.rows)]  # type: ignore[arg-type]


def _speak(writer: ShardWriter, stream: Stream, tts: Synthesizer, asr: Recognizer, conf: Speak, seed: int, fabric: Fabric) -> None:
    from cycle.exchange.pools import sweep

    variation = Variation(conf.duration_noise, conf.speed_noise, conf.pitch_noise, conf.energy_noise)
    generator = torch.Generator(fabric.device).manual_seed(seed % 2**63)
    for _, batch in sweep(stream, conf.batch_frames, fabric.device, "speaking the text pool"):
        with torch.no_grad(), fabric.autocast():
            made = tts.synthesize(batch.texts, batch.spks, variation=variation, generator=generator)
            heard = asr.transcribe(made.speech, Search("ctc_greedy"))
        feats, lengths = made.speech.feats.float().cpu().numpy(), made.speech.lengths.tolist()
        for i, (utt, text, spk) in enumerate(zip(batch.utt_ids, batch.texts, batch.spks, strict=True)):
            tokens = len(text.split())
            rhythm = made.durations[i, :tokens].float().clamp(min=1).log().std(unbiased=False) if made.durations is not None else math.nan
            tone = made.pitch[i, :tokens].float().std(unbiased=False) if made.pitch is not None else math.nan
            row = feats[i, : lengths[i]]
            writer.add(utt, row, text=text, spk=spk, heard=heard[i][0].text if heard[i] else "", finite=bool(np.isfinite(row).all()),
                       duration_std=float(rhythm), pitch_std=float(tone))  # fmt: skip


def synthetic_stream(store: FeatureStore, spoken: list[Spoken]) -> Stream:
    """Synthetic speech as a stream for the recogniser."""
    return Stream("synthetic", [s.utt for s in spoken], [s.spk for s in spoken], [s.text for s in spoken], store, [s.row for s in spoken])
