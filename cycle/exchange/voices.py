"""Does synthetic speech have the voice it was given? Told by long-term spectra, outside of both models (`cycle.models.speaker`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cycle.data.batch import Batch
from cycle.exchange.sweep import sweep
from cycle.models.speaker import long_term_spectrum
from cycle.train.streams import Stream

WATCHED = 1000  # utterances of each kind, evenly spread


def consistency(recorded: Tensor, spks: Sequence[str], made: Tensor, targets: Sequence[str]) -> dict[str, float]:
    """How near voices are to the mean voice of a speaker, by the cosine of features normalised over the recordings.

    Args:
        recorded: (N, D) a feature vector for each recording; spks: their speakers.
        made: (M, D) the same of synthetic speech; targets: the speakers it was to sound like, each among `spks`.

    Returns:
        voice_made: synthetic speech to its target speaker;
        voice_same: recordings to the mean of their speaker's other recordings, the reference above;
        voice_other: recordings to the mean of each other speaker, the reference below.
        Nothing where there are not two speakers, one of them with two recordings, and something synthetic.
    """
    names = sorted(set(spks))
    of = torch.tensor([names.index(s) for s in spks])
    counts = torch.bincount(of, minlength=len(names)) if len(of) else torch.zeros(0)
    several = counts[of] > 1 if len(of) else torch.zeros(0, dtype=torch.bool)
    if len(names) < 2 or not bool(several.any()) or not len(made):
        return {}
    mean, std = recorded.mean(0), recorded.std(0, unbiased=False).clamp(min=1e-6)
    recorded, made = (recorded - mean) / std, (made - mean) / std
    sums = torch.zeros(len(names), recorded.size(1)).index_add(0, of, recorded)
    cosine = torch.nn.functional.cosine_similarity
    rest = (sums[of] - recorded)[several] / (counts[of][several] - 1)[:, None]
    every = cosine(recorded[:, None], (sums / counts[:, None])[None], dim=-1)  # (N, speakers)
    strangers = torch.ones_like(every, dtype=torch.bool).scatter(1, of[:, None], False)
    target = (sums / counts[:, None])[torch.tensor([names.index(t) for t in targets])]
    return {
        "voice_made": float(cosine(made, target).mean()),
        "voice_same": float(cosine(recorded[several], rest).mean()),
        "voice_other": float(every[strangers].mean()),
    }


def voices(paired: Stream, synthetic: Stream, budget: int, device: torch.device) -> dict[str, float]:
    """The monitor of a round: synthetic speech against the recordings of the paired pool, whose speakers it borrows."""
    if len(set(paired.spks)) < 2:
        return {}
    real, made = _some(paired), _some(synthetic)
    return consistency(_spectra(real, budget, device), list(real.spks), _spectra(made, budget, device), list(made.spks))


def _some(stream: Stream) -> Stream:
    return stream.subset(np.unique(np.linspace(0, max(0, len(stream) - 1), min(len(stream), WATCHED)).round().astype(np.int64)))


def _spectra(stream: Stream, budget: int, device: torch.device) -> Tensor:
    def work(group: list[int], batch: Batch) -> list[Tensor]:
        assert batch.speech is not None
        return list(long_term_spectrum(batch.speech).cpu())

    rows = sweep(stream, budget, device, "comparing voices", work)
    return torch.stack(rows) if rows else torch.zeros(0, 1)
