"""Pools as streams: what stage 1 and 2 left on disk, ready for batches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cycle.data import kaldi
from cycle.data.batch import Batch
from cycle.data.features import FeatureStore
from cycle.data.pages import TOGETHER
from cycle.data.schemas import RECORDING
from cycle.data.table import Ragged, Table
from cycle.device import Later, fetch
from cycle.errors import UserError
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.models.frame_ctc import UNALIGNED, FrameCTC
from cycle.train.streams import Stream


def open_pool(exp: Experiment, pool: str) -> Stream:
    """A pool of the experiment as stage 2 left it; texts are empty where it has none. Nothing is read before it is asked for."""
    if pool == "text":
        texts = Table(sorted(exp.feats(pool).glob("[0-9]*.arrow")), RECORDING)
        return Stream(
            pool, texts.column("utt"), texts.column("spk"), texts.column("text"), texts.numbers("frames").astype(np.int32, copy=False)
        )
    return recorded(pool, FeatureStore(exp.feats(pool)))


def recorded(name: str, store: FeatureStore) -> Stream:
    """Everything in a store as a stream."""
    rows = np.arange(len(store), dtype=np.int32)
    return Stream(name, store.table.column("utt"), store.table.column("spk"), store.table.column("text"), store=store, rows=rows)


def references(exp: Experiment, pool: str) -> dict[str, list[str]]:
    """All texts of every utterance of a pool."""
    return kaldi.read_references(exp.data(pool))


def described(exp: Experiment, pool: str) -> Stream:
    """A pool with each utterance as often as it has texts, each time with another one. They share their features."""
    stream, texts = open_pool(exp, pool), references(exp, pool)
    places = [(i, text) for i, utt in enumerate(stream.utt_ids) for text in texts[utt]]
    if len(places) == len(stream):
        return stream
    out = stream.subset([i for i, _ in places])
    out.texts = [text for _, text in places]
    return out


def align(stream: Stream, aligner: FrameCTC, budget: int, device: torch.device) -> tuple[Stream, NDArray[np.bool_]]:
    """Gives a stream durations.

    Returns:
        the stream without the utterances that are too short for their tokens, and (N,) which those are.
    """

    def work(group: list[int], batch: Batch) -> Later[list[NDArray[np.int64]]]:
        assert batch.speech is not None
        texts, coming = batch.texts, fetch(*aligner.align(batch.speech, batch.texts))

        def rows() -> list[NDArray[np.int64]]:
            frames, logp = coming()
            each = zip(frames.numpy(), logp.tolist(), texts, strict=True)
            return [row[: 2 + text.count(" ")] if value > UNALIGNED else row[:0] for row, value, text in each]

        return rows

    durations = Ragged()
    for start in range(0, len(stream), TOGETHER):
        part = stream.subset(range(start, min(start + TOGETHER, len(stream))))
        durations.extend(Ragged(sweep(part, budget, device, f"alignment of {stream.name}", work)))
    lost = durations.sizes == 0
    kept = stream.subset(np.flatnonzero(~lost))
    kept.durations = durations[np.flatnonzero(~lost)]
    return kept, lost


def with_texts(stream: Stream, name: str, texts: dict[str, str]) -> Stream:
    """The utterances of a stream that have a text, with it."""
    out = stream.subset([i for i, utt in enumerate(stream.utt_ids) if utt in texts])
    out.name, out.texts = name, [texts[utt] for utt in out.utt_ids]
    return out


def known_speakers(*streams: Stream) -> list[str]:
    """The speakers of streams, sorted, each once."""
    return sorted({spk for stream in streams for spk in stream.spks})


def lenders(exp: Experiment) -> list[str]:
    """Whose voices synthetic speech has: the speakers of the pools that the settings name.

    Raises:
        UserError: these pools hold no recording.
    """
    pools = exp.config.rounds.speak.speakers
    speakers = known_speakers(*(open_pool(exp, pool) for pool in pools))
    if not speakers:
        raise UserError(f"rounds.speak.speakers: no recordings in {' and '.join(pools)}", None, "name a pool that has some: paired, speech")
    return speakers
