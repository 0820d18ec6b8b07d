"""text -> TTS -> synthetic speech: the text pool spoken in batches, kept as features, no vocoder in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cycle.data.batch import Batch, Hypothesis, first_texts, within
from cycle.data.features import FeatureStore, ShardWriter
from cycle.data.schemas import SPOKEN
from cycle.device import Later, fetch, send
from cycle.exchange.engine import SHARD, Write
from cycle.exchange.pools import lenders, open_pool, recorded
from cycle.exchange.sweep import begin_sweep
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.models.pair import open_asr, open_tts
from cycle.models.synthesizer import Rendering, Variation
from cycle.settings import Search
from cycle.train.streams import Stream, seed_of

type Row = tuple[NDArray[np.float16], dict[str, Any]]  # features, and what the table says of them


def choose_sentences(stream: Stream, count: int, number: int) -> Stream:
    """The `count` sentences of a round: the pool is walked through round after round, in the order it has."""
    if not 0 < count < len(stream):
        return stream
    first = (number - 1) * count
    return stream.subset((first + np.arange(count)) % len(stream))


def draw_speakers(stream: Stream, speakers: Sequence[str], seed: int) -> list[str]:
    """A speaker for each sentence, the same at every resume."""
    rng = np.random.default_rng(seed_of(seed, "speakers"))
    return [speakers[i] for i in rng.integers(len(speakers), size=len(stream))]


@dataclass(frozen=True)
class SpeakJob:
    """The sentences of round `number` through the models of `start`, into `folder`."""

    exp: Experiment
    number: int
    start: Path
    folder: Path
    title: str = "speaking the text pool"

    @property
    def seed(self) -> int:
        return seed_of(self.exp.config.seed, "speak", self.number)

    def texts(self) -> Stream:
        """The sentences with their speakers, drawn from those of the pools that the settings name."""
        conf = self.exp.config.rounds.speak
        texts = choose_sentences(open_pool(self.exp, "text"), conf.count, self.number)
        texts.spks = draw_speakers(texts, lenders(self.exp), self.seed)
        return texts

    def shards(self) -> int:
        return math.ceil(len(self.texts()) / SHARD)

    def done(self, shard: int) -> bool:
        return ShardWriter(self.folder, shard).done

    def spoken(self) -> Stream:
        """What there is, in the order of the sentences."""
        return recorded("synthetic", FeatureStore(self.folder, schema=SPOKEN))

    def open(self, fabric: Fabric) -> Callable[[int], Write]:
        exp, texts = self.exp, self.texts()
        asr, tts = open_asr(exp, self.start, fabric.device), open_tts(exp, self.start, fabric.device)
        conf = exp.config.rounds.speak
        variation = Variation(conf.duration_noise, conf.speed_noise, conf.pitch_noise, conf.energy_noise)

        def work(shard: int) -> Write:
            writer = ShardWriter(self.folder, shard, SPOKEN)
            part = texts.subset(range(shard * SHARD, min((shard + 1) * SHARD, len(texts))))

            def speak(group: list[int], batch: Batch) -> Later[list[Row]]:
                generator = torch.Generator(fabric.device).manual_seed(seed_of(self.seed, shard, group[0]))
                with torch.no_grad(), fabric.autocast():
                    made = tts.synthesize(batch.texts, batch.spks, variation=variation, generator=generator)
                    return _rows(made, batch, asr.listen(made.speech, Search("ctc_greedy")))

            rows = begin_sweep(part, conf.batch_frames, fabric.device, self.title, speak)

            def write() -> None:
                for utt, (feats, row) in zip(part.utt_ids, rows(), strict=True):
                    writer.add(utt, feats, **row)
                writer.close()

            return write

        return work


def _rows(made: Rendering, batch: Batch, heard: Later[list[list[Hypothesis]]]) -> Later[list[Row]]:
    """What is kept of each sentence, begun."""
    feats, tokens = made.speech.feats, send([len(text.split()) for text in batch.texts], made.speech.feats.device)
    nothing = torch.full(tokens.shape, math.nan, device=tokens.device)
    rhythm = spread(made.durations.float().clamp(min=1).log(), tokens) if made.durations is not None else nothing
    tone = spread(made.pitch.float(), tokens) if made.pitch is not None else nothing
    coming = fetch(feats.half(), made.speech.lengths, feats.isfinite().all(-1).all(-1), rhythm, tone)  # features as they are stored

    def rows() -> list[Row]:
        stored, *columns = coming()  # of which rows are copied: the memory that a GPU reaches is scarce, and wanted again
        each = zip(stored.numpy(), *[column.tolist() for column in columns], batch.texts, batch.spks, first_texts(heard()), strict=True)
        return [
            (row[:length].copy(), {"text": text, "spk": spk, "heard": said, "finite": finite, "duration_std": rhythm, "pitch_std": tone})
            for row, length, finite, rhythm, tone, text, spk, said in each
        ]

    return rows


def spread(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(B,) standard deviation of the first `counts` values of each row of (B, L)."""
    inside = within(counts, values.size(1))
    mean = (values * inside).sum(1) / counts
    return (((values - mean[:, None]) ** 2 * inside).sum(1) / counts).sqrt()
