"""The voices of a corpus, part of stage 3: an encoder trained on all recordings, paired or not, and an embedding for each speaker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cycle.data.batch import Batch
from cycle.data.pages import TOGETHER
from cycle.data.table import sample
from cycle.device import by_first
from cycle.exchange.pools import known_speakers, open_pool
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.files import atomic_write
from cycle.log import log
from cycle.models.checkpoint import load_weights
from cycle.models.voices import VoiceEncoder, places
from cycle.train.alone import train_alone
from cycle.train.streams import Stream

POOLS = ("paired", "speech")
WATCHED = 1000  # recordings of dev, evenly spread, that tell how well voices are told apart


def find_voices(exp: Experiment, fabric: Fabric) -> None:
    """Leaves `voices/speakers.npy` and, where there are several, the encoder and their `vectors.npy`; what is there already stays."""
    pools = [pool for pool in (open_pool(exp, name) for name in POOLS) if len(pool)]
    speakers, vectors = exp.voices / "speakers.npy", exp.voices / "vectors.npy"
    by_first(fabric, lambda: _write(speakers, lambda: np.array(known_speakers(*pools))))
    if len(np.load(speakers, "r")) > 1:

        def make() -> VoiceEncoder:
            return VoiceEncoder(exp.config.features.n_mels, exp.config.voices)

        streams = {pool.name: pool for pool in pools}
        train_alone(exp, exp.voices, "voices", make, streams, exp.config.seed, fabric, split=False)
        by_first(fabric, lambda: _write(vectors, lambda: _embedded(exp, pools, np.load(speakers), fabric.device)))


def _write(path: Path, values: Callable[[], NDArray[np.generic]]) -> None:
    if not path.exists():
        found = values()
        with atomic_write(path, "wb") as handle:
            np.save(handle, found)


def _embedded(exp: Experiment, pools: Sequence[Stream], speakers: NDArray[np.str_], device: torch.device) -> NDArray[np.float16]:
    """The vector of each speaker; says how well the encoder tells those of dev apart."""
    encoder, budget = load_encoder(exp, device), exp.config.rounds.label.batch_frames
    dev = open_pool(exp, "dev")
    dev = dev.subset(sample(len(dev), WATCHED))
    near, far = agreement(_heard(dev, encoder, budget, device), list(dev.spks))
    known = len(set(dev.spks) & set(speakers.tolist()))
    log.info("%d voices; two dev recordings of one speaker: %.2f, of two: %.2f (mean cosine); training heard %d of dev's %d speakers",
             len(speakers), near, far, known, len(set(dev.spks)))  # fmt: skip
    return mean_vectors(pools, speakers, encoder, budget, device)


def load_encoder(exp: Experiment, device: torch.device) -> VoiceEncoder:
    """The encoder of an experiment with several voices."""
    model = VoiceEncoder(exp.config.features.n_mels, exp.config.voices)
    load_weights(model, exp.voices / "model.pth")
    return model.to(device).eval()


def _heard(stream: Stream, encoder: VoiceEncoder, budget: int, device: torch.device) -> NDArray[np.float32]:
    """(N, D) embeddings of recordings."""

    def work(group: list[int], batch: Batch) -> list[NDArray[np.float32]]:
        assert batch.speech is not None
        return list(encoder.embed(batch.speech).cpu().numpy())

    return np.stack(sweep(stream, budget, device, f"voices of {stream.name}", work))


def mean_vectors(
    pools: Sequence[Stream], speakers: NDArray[np.str_], encoder: VoiceEncoder, budget: int, device: torch.device
) -> NDArray[np.float16]:
    """(N, D) for each speaker, the mean over recordings, of length one."""
    sums = np.zeros((len(speakers), encoder.conf.size), np.float32)
    for pool in pools:
        for start in range(0, len(pool), TOGETHER):
            some = pool.subset(range(start, min(start + TOGETHER, len(pool))))
            np.add.at(sums, places(speakers, list(some.spks)), _heard(some, encoder, budget, device))
    sums /= np.linalg.norm(sums, axis=1, keepdims=True).clip(min=1e-6)
    return sums.astype(np.float16)


def agreement(vectors: NDArray[np.float32], spks: Sequence[str]) -> tuple[float, float]:
    """Mean cosine of two recordings of one speaker, and of two speakers; nan where there is no such pair.

    Args:
        vectors: (N, D) of length one; spks: (N,).
    """
    cosines = vectors @ vectors.T
    same = np.array(spks)[:, None] == np.array(spks)
    np.fill_diagonal(cosines, np.nan)
    near, far = cosines[same], cosines[~same]
    return (float(np.nanmean(near)) if len(near) > len(spks) else np.nan), (float(far.mean()) if len(far) else np.nan)
