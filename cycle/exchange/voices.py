"""Does synthetic speech have the voice it was given? Told by long-term spectra, outside of both models (`cycle.models.speaker`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from cycle.data.batch import Batch
from cycle.data.table import sample
from cycle.exchange.sweep import sweep
from cycle.models.speaker import long_term_spectrum
from cycle.train.streams import Stream

WATCHED = 1000  # utterances of each kind, evenly spread


def consistency(recorded: Tensor, spks: Sequence[str], made: Tensor, targets: Sequence[str]) -> dict[str, float]:
    """How near voices are to the mean voice of a speaker, by the cosine of features normalised over the recordings.

    Args:
        recorded: (N, D) a feature vector for each recording; spks: their speakers.
        made: (M, D) the same of synthetic speech; targets: the speakers it was to sound like; those not among `spks` are left out.

    Returns:
        voice_made: synthetic speech to its target speaker;
        voice_same: recordings to the mean of their speaker's other recordings, the reference above;
        voice_other: recordings to the mean of each other speaker, the reference below.
        Nothing where there are not two speakers, one of them with two recordings, and something synthetic.
    """
    index = {spk: i for i, spk in enumerate(sorted(set(spks)))}
    known = [i for i, spk in enumerate(targets) if spk in index]
    if len(index) < 2 or len(index) == len(spks) or not known:
        return {}
    of, target = torch.tensor([index[spk] for spk in spks]), torch.tensor([index[targets[i]] for i in known])
    mean, std = recorded.mean(0), recorded.std(0, unbiased=False).clamp(min=1e-6)
    recorded, made = (recorded - mean) / std, (made[known] - mean) / std
    sums = torch.zeros(len(index), recorded.size(1)).index_add(0, of, recorded)
    several = torch.bincount(of)[of] > 1
    others = (sums[of] - recorded)[several]  # the mean's direction is the sum's
    every = normalize(recorded, dim=-1) @ normalize(sums, dim=-1).T  # (N, speakers)
    strangers = torch.ones_like(every, dtype=torch.bool).scatter(1, of[:, None], False)
    return {
        "voice_made": float(cosine_similarity(made, sums[target]).mean()),
        "voice_same": float(cosine_similarity(recorded[several], others).mean()),
        "voice_other": float(every[strangers].mean()),
    }


def voices(pools: Sequence[Stream], synthetic: Stream, budget: int, device: torch.device) -> dict[str, float]:
    """The monitor of a round: synthetic speech against recordings of the pools whose speakers it borrows."""
    real = [pool.subset(sample(len(pool), WATCHED)) for pool in pools]
    spks = [spk for stream in real for spk in stream.spks]
    if len(set(spks)) < 2:
        return {}
    made = synthetic.subset(sample(len(synthetic), WATCHED))
    recorded = torch.cat([_spectra(stream, budget, device) for stream in real if len(stream)])
    return consistency(recorded, spks, _spectra(made, budget, device), list(made.spks))


def _spectra(stream: Stream, budget: int, device: torch.device) -> Tensor:
    def work(group: list[int], batch: Batch) -> list[Tensor]:
        assert batch.speech is not None
        return list(long_term_spectrum(batch.speech).cpu())

    rows = sweep(stream, budget, device, "comparing voices", work)
    return torch.stack(rows) if rows else torch.zeros(0, 1)
