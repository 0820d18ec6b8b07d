"""Pools as streams: what stage 1 and 2 left on disk, ready for batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from cycle.data import kaldi
from cycle.data.batch import Batch
from cycle.data.features import FeatureStore
from cycle.experiment import Experiment
from cycle.log import progress
from cycle.models.frame_ctc import FrameCTC
from cycle.train.streams import Stream, by_frames, collate

UNALIGNED = -1e3  # log-probability per frame below which a recording is too short for its tokens


def open_pool(exp: Experiment, pool: str) -> Stream:
    """A pool of the experiment; texts are empty where it has none."""
    utts = {u.utt_id: u for u in kaldi.read(exp.data(pool))}
    texts = {} if pool == "speech" else kaldi.read_tokens(exp.data(pool))
    if pool == "text":
        ids = list(utts)
        return Stream(pool, ids, [""] * len(ids), [texts[i] for i in ids])
    store = FeatureStore(exp.feats(pool))
    ids = [i for i in utts if i in store.position]
    return Stream(pool, ids, [utts[i].spk for i in ids], [texts.get(i, "") for i in ids], store, [store.position[i] for i in ids])


def sweep(stream: Stream, budget: int, device: torch.device, title: str) -> Iterator[tuple[list[int], Batch]]:
    """Every utterance once, in batches by length; yields places in the stream with each batch."""
    order = np.argsort(stream.frames, kind="stable")
    groups = by_frames(stream.frames, [int(i) for i in order], budget)
    for group in progress(groups, len(groups), title):
        yield group, collate([(stream, i) for i in group]).to(device)


def align(stream: Stream, aligner: FrameCTC, budget: int, device: torch.device) -> tuple[Stream, list[str]]:
    """Gives a stream durations.

    Returns:
        the stream without the utterances that are too short for their tokens, and the ids of those.
    """
    durations: dict[int, np.ndarray] = {}  # type: ignore[type-arg]
    for group, batch in sweep(stream, budget, device, f"alignment of {stream.name}"):
        assert batch.speech is not None
        frames, logp = aligner.align(batch.speech, batch.texts)
        for i, row, value, text in zip(group, frames.cpu().numpy(), logp.tolist(), batch.texts, strict=True):
            if value > UNALIGNED:
                durations[i] = row[: 2 + text.count(" ")]
    keep = [i for i in range(len(stream)) if i in durations]
    lost = [stream.utt_ids[i] for i in range(len(stream)) if i not in durations]
    kept = stream.subset(keep)
    kept.durations = [durations[i] for i in keep]
    return kept, lost


def with_texts(stream: Stream, name: str, texts: dict[str, str]) -> Stream:
    """The utterances of a stream that have a text, with it."""
    keep = [i for i, utt in enumerate(stream.utt_ids) if utt in texts]
    out = stream.subset(keep)
    out.name, out.texts = name, [texts[utt] for utt in out.utt_ids]
    return out


def known_speakers(stream: Stream) -> Sequence[str]:
    """The speakers of a stream, sorted, each once."""
    return sorted(set(stream.spks))
