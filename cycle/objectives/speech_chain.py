"""Each model as the other's judge (speech chain: Tjandra et al. 2017, arXiv:1707.04879; Baskar et al. 2019, arXiv:1905.01152)."""

from __future__ import annotations

import torch

from cycle.data.batch import Batch, Loss
from cycle.models.recognizer import UNFIT
from cycle.objectives.base import Models, Name
from cycle.objectives.sequence import expected_risk


class TtsThroughAsr:
    """text -> TTS -> ASR: how badly the recogniser hears what the synthesiser says, with the gradient through the features.

    The loss is minus the recogniser's log-probability of the text per token; the recogniser is frozen and carries no training noise.
    """

    trains: frozenset[Name] = frozenset({"tts"})

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        made = models.tts.synthesize(batch.texts, batch.spks, grad=True)
        tokens = torch.tensor([len(t.split()) for t in batch.texts], device=made.speech.feats.device)
        logp = models.asr.logp(made.speech, [[t] for t in batch.texts])[:, 0]
        fits = logp > UNFIT  # speech too short for its text has no gradient to give, and no place in the mean
        value = -(logp / tokens * fits).sum() / fits.sum().clamp(min=1)
        return Loss(value, len(batch.texts), {"loss": value.detach(), "fits": fits.float().mean()})


class AsrThroughTts:
    """speech -> ASR -> TTS: the expected distance between a recording and what the synthesiser makes of its transcripts.

    The N-best lists and the synthesiser's score of each hypothesis under its own alignment come from the exchange; here they get their
    probabilities anew, with gradient: searching without gradient, scoring with it.

    Args:
        scale: multiplies the rewards, which are minus distances in scaled log-mel of about 0.3 to 1.
    """

    trains: frozenset[Name] = frozenset({"asr"})

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None
        n = max(len(hyps) for hyps in batch.nbest)
        filled = [hyps + [hyps[0]] * (n - len(hyps)) for hyps in batch.nbest]
        device = batch.speech.feats.device
        reward = torch.tensor([[r for _, r in hyps] for hyps in filled], device=device)
        valid = torch.arange(n, device=device) < torch.tensor([len(h) for h in batch.nbest], device=device)[:, None]
        logp = models.asr.logp(batch.speech, [[t for t, _ in hyps] for hyps in filled])
        value = expected_risk(logp, -self.scale * reward, valid).mean()
        return Loss(value, len(batch.texts), {"loss": value.detach()})
