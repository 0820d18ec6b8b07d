"""Each model as the other's judge (speech chain: Tjandra et al. 2017, arXiv:1707.04879; Baskar et al. 2019, arXiv:1905.01152).

text -> TTS -> ASR: the gradient goes through the features. speech -> ASR -> TTS: a text is no number, so there are three ways: the expected
loss over an N-best list, straight-through Gumbel tokens, and REINFORCE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from cycle import rewards
from cycle.data.batch import Batch, Loss
from cycle.data.kinds import HEARD, READ, TEXTS
from cycle.device import send
from cycle.models.recognizer import UNFIT, Branch
from cycle.models.speaker import long_term_spectrum
from cycle.objectives.base import Models, Name, Origin, chosen, nothing
from cycle.objectives.sequence import Scst, branch, expected_risk, filled


class TtsThroughAsr:
    """text -> TTS -> ASR: how badly the recogniser hears what the synthesiser says, with the gradient through the features.

    The loss is minus the recogniser's log-probability of the text per token, without training noise.

    Args:
        trains: tts, asr, or both; the other is frozen.
        by: the recogniser's branch that listens.
    """

    streams = READ
    graphs = True

    def __init__(self, trains: Sequence[str] = ("tts",), by: Branch = "ctc"):
        self.trains: frozenset[Name] = chosen(trains)
        self.by = branch(by)

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        made = models.tts.synthesize(batch.texts, batch.spks, grad=True)
        tokens = send([len(t.split()) for t in batch.texts], made.speech.feats.device)
        logp = models.asr.logp(made.speech, [[t] for t in batch.texts], self.by)[:, 0]
        fits = (logp > UNFIT) & (tokens > 0)  # speech too short for its text has no gradient to give, and no place in the mean
        value = -(logp / tokens.clamp(min=1) * fits).sum() / fits.sum().clamp(min=1)
        return Loss(value, len(batch.texts), {"loss": value.detach(), "fits": fits.float().mean()}, value[None], fits.sum()[None])


class SpeakerConsistency:
    """text -> TTS: how far the voice of a rendering is from the recording of the same speaker.

    The loss is 1 - cosine of the long-term spectra, with the gradient through the features (Tjandra et al. 2018, arXiv:1803.10525, with
    embeddings of a network). It needs a stream with recordings and texts.
    """

    trains: frozenset[Name] = frozenset({"tts"})
    streams = TEXTS
    graphs = True

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None, "mix: paired (or pseudo, synthetic): a voice needs a recording"
        made = models.tts.synthesize(batch.texts, batch.spks, grad=True)
        similarity = torch.cosine_similarity(long_term_spectrum(made.speech), long_term_spectrum(batch.speech), dim=-1)
        value = (1 - similarity).mean()
        return Loss(value, len(batch.texts), {"loss": value.detach()})


class AsrThroughTts:
    """speech -> ASR -> TTS: the expected distance between a recording and what the synthesiser makes of its transcripts.

    The N-best lists and the synthesiser's score of each hypothesis under its own alignment come from the exchange; here they get their
    probabilities anew, with gradient: searching without gradient, scoring with it.

    Args:
        scale: multiplies the rewards, which are minus distances in scaled log-mel of about 0.3 to 1.
    """

    trains: frozenset[Name] = frozenset({"asr"})
    streams = frozenset({"speech"})  # with lists that the synthesiser has judged
    graphs = True

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None
        reward, valid = rewards.table([[r for _, r in hyps] for hyps in batch.nbest], batch.speech.feats.device)
        logp = models.asr.logp(batch.speech, filled([[t for t, _ in hyps] for hyps in batch.nbest], reward.size(1)))
        value = expected_risk(logp, -self.scale * reward, valid).mean()
        return Loss(value, len(batch.texts), {"loss": value.detach()})


class AsrThroughTtsGumbel:
    """speech -> ASR -> TTS with straight-through Gumbel tokens (Tjandra et al. 2018, arXiv:1810.13107): one drawn transcript a recording.

    The attention decoder draws a transcript; its one-hot tokens, which carry the gradient of their Gumbel-softmax, are embedded by the
    synthesiser, and the loss is the distance of its rendering to the recording under the transcript's own alignment. The decoder's history
    counts as given, so the gradient of a token does not pass through those after it.

    Args:
        temperature: of the softmax behind the one-hots; drawing is at 1.
        trains: asr, tts, or both; the other is frozen.
    """

    streams = HEARD

    def __init__(self, temperature: float = 1.0, trains: Sequence[str] = ("asr",)):
        self.trains: frozenset[Name] = chosen(trains)
        self.temperature = temperature
        self.origin: Origin | None = None

    def begin(self, origin: Origin) -> None:
        self.origin = origin

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None and self.origin is not None
        device = batch.speech.feats.device
        drawn = [row[0] for row in models.asr.sample(batch.speech, 1, 1.0, "attention")]
        spoken = [i for i, text in enumerate(drawn) if text]
        own, fits = rewards.aligned(batch, spoken, [drawn[i] for i in spoken], self.origin.aligner) if spoken else (None, [])
        stats = {"judged": sum(fits) / len(drawn)}
        if own is None:
            return nothing(device, dict(stats))
        assert own.speech is not None
        soft = models.asr.soft_tokens(own.speech, own.texts, self.temperature)
        value = -models.tts.score(own, soft, grad=True).mean()
        return Loss(value, len(own.texts), {"loss": value.detach(), **stats})


class AsrThroughTtsReinforce(Scst):
    """speech -> ASR -> TTS by REINFORCE (Hori et al. 2019, arXiv:1811.01690; Baskar et al. 2019, arXiv:1905.01152): drawn transcripts, the
    synthesiser's score of the recording as their reward, the other samples as baseline."""

    def __init__(
        self, reward: Mapping[str, float] | None = None, samples: int = 4, by: Branch = "ctc", temperature: float = 1.0
    ):  # fmt: skip
        super().__init__(reward or {"round_trip": 1.0}, samples=samples, baseline="others", by=by, temperature=temperature)
