"""The voices of a corpus, part of stage 3: an encoder trained on all recordings, paired or not, and an embedding for each speaker."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

from cycle.data.batch import Batch
from cycle.data.pages import TOGETHER
from cycle.device import by_first
from cycle.exchange.pools import open_pool
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.files import atomic_write
from cycle.models.checkpoint import load_weights
from cycle.models.voices import VoiceEncoder, Voices
from cycle.train.alone import train_alone
from cycle.train.streams import Stream

log = logging.getLogger("cycle")
POOLS = ("paired", "speech")


def find_voices(exp: Experiment, fabric: Fabric) -> None:
    """Leaves `voices/speakers.npy` and, where there are several, their `vectors.npy` and the encoder."""
    if (exp.voices / "speakers.npy").exists():
        return
    pools = {name: open_pool(exp, name) for name in POOLS}
    pools = {name: pool for name, pool in pools.items() if len(pool)}
    speakers = np.unique(np.concatenate([np.array(list(pool.spks)) for pool in pools.values()]))
    if len(speakers) > 1:
        train_alone(
            exp, exp.voices, "voices", lambda: VoiceEncoder(exp.config.features.n_mels, exp.config.voices), pools, exp.config.seed, fabric
        )
        encoder = load_encoder(exp, fabric.device)
        vectors = mean_vectors(pools.values(), speakers, encoder, exp.config.rounds.label.batch_frames, fabric.device)
        dev = open_pool(exp, "dev")
        near, far = agreement(_heard(dev, encoder, exp.config.rounds.label.batch_frames, fabric.device), list(dev.spks))
        log.info("%d voices; two dev recordings of one speaker: %.2f, of two: %.2f (mean cosine)", len(speakers), near, far)
        by_first(fabric, lambda: _write(exp.voices / "vectors.npy", vectors))
    by_first(fabric, lambda: _write(exp.voices / "speakers.npy", speakers))


def _write(path: Path, values: NDArray[np.generic]) -> None:
    with atomic_write(path, "wb") as handle:
        np.save(handle, values)


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
    pools: Iterable[Stream], speakers: NDArray[np.str_], encoder: VoiceEncoder, budget: int, device: torch.device
) -> NDArray[np.float16]:
    """(N, D) for each speaker, the mean over recordings, of length one."""
    voices = Voices(speakers, (0.0, 1.0), (0.0, 1.0))
    sums = np.zeros((len(speakers), encoder.conf.size), np.float32)
    for pool in pools:
        for start in range(0, len(pool), TOGETHER):
            some = pool.subset(range(start, min(start + TOGETHER, len(pool))))
            np.add.at(sums, voices.places(list(some.spks)), _heard(some, encoder, budget, device))
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(min=1e-6)).astype(np.float16)


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
