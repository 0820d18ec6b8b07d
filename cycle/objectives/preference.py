"""Losses on pairs, a better and a worse output, against a frozen reference: DPO, and self-play with the truth as the better one.

The reference is the model that the round started from. Both losses only need likelihoods, and say which:

- recogniser: the log-probability of the whole text, by CTC (all paths) or by the attention decoder (up to the end token);
- FastSpeech2: a Gaussian policy over ln(frames + 1), pitch and energy of each token, with the deviations of `spread` around what the model
  predicts. Renderings are drawn from that same policy. The features follow from them without chance, so they have no term of their own;
- Tacotron 2: a Gaussian of deviation `spread.frame` around each frame, given the frames before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cycle import rewards
from cycle.data.batch import Batch, Loss
from cycle.data.kinds import ALIGNED, HEARD, READ, TEXTS
from cycle.data.types import Speech
from cycle.device import send
from cycle.errors import UserError
from cycle.models.recognizer import UNFIT, Branch
from cycle.models.synthesizer import Action, Spread
from cycle.objectives.base import Models, Name, Origin, nothing
from cycle.objectives.judging import TextJudge
from cycle.objectives.sequence import branch, filled, heard, list_search


def dpo(better: Tensor, worse: Tensor, ref_better: Tensor, ref_worse: Tensor, beta: float) -> Tensor:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290).

    Args:
        better, worse: (B,) log-probabilities under the model, with gradient.
        ref_better, ref_worse: (B,) the same under the reference, without.

    Returns:
        (B,) - ln sigmoid(beta ((better - ref_better) - (worse - ref_worse))). Self-play's loss (Chen et al. 2024, arXiv:2401.01335) is the
        same with the truth as the better and the reference's own output as the worse one.
    """
    return -nn.functional.logsigmoid(beta * ((better - ref_better) - (worse - ref_worse)))


def extremes(reward: Tensor, valid: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """The best and the worst of each list.

    Args:
        reward: (B, N); valid: (B, N).

    Returns:
        (B,) places of the best and of the worst, and (B,) whether they differ by more than `margin`.
    """
    best = reward.masked_fill(~valid, -torch.inf).argmax(-1)
    worst = reward.masked_fill(~valid, torch.inf).argmin(-1)
    gap = (reward.gather(1, best[:, None]) - reward.gather(1, worst[:, None]))[:, 0]
    return best, worst, (gap > margin) & valid.any(-1)


def compared(logp: Tensor, reference: Tensor, beta: float, stats: dict[str, float | Tensor]) -> Loss:
    """The DPO loss of (B, 2) log-probabilities, the better first, with what shows whether it works."""
    value = dpo(logp[:, 0], logp[:, 1], reference[:, 0], reference[:, 1], beta).mean()
    gained = (logp - reference).detach()
    margin = gained[:, 0] - gained[:, 1]
    shown = {"loss": value.detach(), "margin": margin.mean(), "accuracy": (margin > 0).float().mean(), "better_gain": gained[:, 0].mean()}
    return Loss(value, len(logp), shown | stats)


class AsrDpo:
    """The recogniser's best and worst hypothesis of a recording; N-best lists are the reference's.

    On a stream with N-best lists their rewards are made by the exchange: the synthesiser's scores (`speech`), probabilities (`labelled`).
    On others (`paired`) the reference searches, and `reward` judges.

    Args:
        reward, level: see `TextJudge`.
        nbest: hypotheses that the reference finds.
        beta: how strongly the reference holds the model.
        by: the branch whose probabilities are moved.
        margin: pairs closer in reward are left out.
        search: what finds the list, where the reference searches: ctc_beam, joint or attention.
        varied: both hear the speech as in training, see `sequence.heard`.
    """

    trains: frozenset[Name] = frozenset({"asr"})
    streams = HEARD
    lists = True

    def __init__(
        self,
        reward: Mapping[str, float] | None = None,
        level: str = "token",
        nbest: int = 4,
        beta: float = 0.1,
        by: Branch = "ctc",
        margin: float = 0.0,
        search: str = "ctc_beam",
        varied: bool = False,
    ):
        self.judge, self.search = TextJudge(reward or {"error_rate": 1.0}, level), list_search(search, nbest)
        self.beta, self.by, self.margin, self.varied = positive(beta), branch(by), margin, varied
        self.needs_texts, self.needs_labels = self.judge.needs_texts, self.judge.needs_labels
        self.origin: Origin | None = None

    def begin(self, origin: Origin) -> None:
        self.origin = origin
        self.judge.begin(origin)

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None and self.origin is not None
        speech = heard(batch.speech, models, self.varied)
        if batch.nbest:
            lists = [[text for text, _ in hyps] for hyps in batch.nbest]
            reward, valid = rewards.table([[r for _, r in hyps] for hyps in batch.nbest], batch.speech.feats.device)
        else:
            lists = [[hyp.text for hyp in hyps] for hyps in self.origin.asr.transcribe(speech, self.search)]
            reward, valid = self.judge(batch, lists, models)
        if not reward.size(1):
            return nothing(reward.device, {"pairs": 0.0})
        best, worst, usable = extremes(reward, valid, self.margin)
        rows = filled(lists, reward.size(1))
        pairs = [[row[b], row[w]] for row, b, w in zip(rows, best.tolist(), worst.tolist(), strict=True)]
        return text_pairs(speech, pairs, usable, models, self.origin, self.by, self.beta)


class AsrSelfPlay:
    """SPIN for the recogniser: the true text against one that the reference draws; it ends where the two cannot be told apart.

    Args:
        beta: how strongly the reference holds the model.
        by: the branch that draws and scores.
        temperature: of drawing.
        varied: both hear the speech as in training, see `sequence.heard`.
    """

    trains: frozenset[Name] = frozenset({"asr"})
    streams = TEXTS

    def __init__(self, beta: float = 0.1, by: Branch = "ctc", temperature: float = 1.0, varied: bool = False):
        self.beta, self.by, self.temperature, self.varied = positive(beta), branch(by), positive(temperature), varied
        self.origin: Origin | None = None

    def begin(self, origin: Origin) -> None:
        self.origin = origin

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None and self.origin is not None
        speech = heard(batch.speech, models, self.varied)
        own = self.origin.asr.sample(speech, 1, self.temperature, self.by)
        pairs = [[truth, row[0]] for truth, row in zip(batch.texts, own, strict=True)]
        usable = send([truth != drawn for truth, drawn in pairs], batch.speech.feats.device)
        return text_pairs(speech, pairs, usable, models, self.origin, self.by, self.beta)


def text_pairs(
    speech: Speech, pairs: list[list[str]], usable: Tensor, models: Models, origin: Origin, by: Branch, beta: float
) -> Loss:  # fmt: skip
    """DPO on (better, worse) transcripts of recordings; rows that are not usable, or do not fit their recording, are left out."""
    keep = usable.nonzero()[:, 0].tolist()
    stats: dict[str, float | Tensor] = {"pairs": usable.float().mean()}
    if not keep:
        return nothing(usable.device, stats)
    some, texts = speech.rows(keep), [pairs[i] for i in keep]
    with torch.no_grad():
        reference = origin.asr.logp(some, texts, by)
    fits = (reference > UNFIT).all(-1)
    if not bool(fits.any()):
        return nothing(usable.device, stats)
    logp = models.asr.logp(some, texts, by)
    return compared(logp[fits], reference[fits], beta, stats)


class TtsDpo:
    """The best and the worst of several renderings of a text, all drawn from the reference's policy.

    Args:
        reward: name: weight; `heard` (minus the error rate of what the reference's recogniser hears), `heard_logp` (its log-probability
            of the text per token), `speaker` (similarity to the recording; needs a stream with recordings).
        renderings: drawn for each text.
        spread: deviations of the policy, see `cycle.models.synthesizer.Spread`.
        beta: how strongly the reference holds the model.
        margin: pairs closer in reward are left out.
        level: unit of the error rate.
    """

    trains: frozenset[Name] = frozenset({"tts"})
    NAMES = ("heard", "heard_logp", "speaker")

    def __init__(
        self,
        reward: Mapping[str, float] | None = None,
        renderings: int = 4,
        spread: Mapping[str, float] | None = None,
        beta: float = 0.1,
        margin: float = 0.0,
        level: str = "token",
    ):
        if renderings < 2:
            raise UserError(f"renderings: {renderings}", "args", "a pair needs two")
        self.weights, self.level = rewards.named(reward or {"heard_logp": 1.0}, self.NAMES, "reward"), level
        self.streams = TEXTS if "speaker" in self.weights else READ  # a text without a recording says nothing of its speaker
        self.renderings, self.spread, self.beta, self.margin = renderings, spread_of(spread), positive(beta), margin
        self.origin: Origin | None = None

    def begin(self, origin: Origin) -> None:
        self.origin, self.units = origin, rewards.units(origin.language, self.level)

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert self.origin is not None
        n = self.renderings
        texts = [t for t in batch.texts for _ in range(n)]
        action, speech = self.origin.tts.sample(texts, [s for s in batch.spks for _ in range(n)], self.spread)
        values = iter(rewards.mixture([(w, self._values(name, batch, speech, texts)) for name, w in self.weights.items()]))
        reward, valid = rewards.table([[next(values) for _ in range(n)] for _ in batch.texts], speech.feats.device)
        best, worst, usable = extremes(reward, valid, self.margin)
        first = torch.arange(len(batch.texts), device=best.device) * n
        pair = torch.stack([first + best, first + worst], dim=1)[usable]
        stats = {"pairs": usable.float().mean(), "reward": (reward * valid).sum() / valid.sum().clamp(min=1)}
        return action_pairs(batch, action, pair, usable, models, self.origin, self.spread, self.beta, stats)

    def _values(self, name: str, batch: Batch, speech: Speech, texts: list[str]) -> list[rewards.Reward]:
        assert self.origin is not None
        if name == "heard":
            return rewards.heard(speech, texts, self.origin.asr, self.units)
        if name == "heard_logp":
            return rewards.heard_logp(speech, texts, self.origin.asr)
        assert batch.speech is not None
        n = self.renderings
        recorded = batch.speech.rows([i for i in range(len(batch.texts)) for _ in range(n)])
        return rewards.speaker_similarity(speech, recorded)


class TtsSelfPlay:
    """SPIN for the synthesiser: how the recording was spoken against how the reference would speak, drawn from its policy.

    Args:
        spread: deviations of the policy.
        beta: how strongly the reference holds the model.
    """

    trains: frozenset[Name] = frozenset({"tts"})
    streams = ALIGNED

    def __init__(self, spread: Mapping[str, float] | None = None, beta: float = 0.1):
        self.spread, self.beta = spread_of(spread), positive(beta)
        self.origin: Origin | None = None

    def begin(self, origin: Origin) -> None:
        self.origin = origin

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert self.origin is not None
        said = models.tts.action(batch)
        own, _ = self.origin.tts.sample(batch.texts, batch.spks, self.spread)
        every = torch.arange(len(batch.texts), device=said.values.device)
        pair = torch.stack([every, every + len(every)], dim=1)
        usable = torch.ones_like(every, dtype=torch.bool)
        return action_pairs(batch, stacked(said, own), pair, usable, models, self.origin, self.spread, self.beta, {})


def action_pairs(
    batch: Batch, action: Action, pair: Tensor, usable: Tensor, models: Models, origin: Origin, spread: Spread, beta: float,
    stats: dict[str, float | Tensor],
) -> Loss:  # fmt: skip
    """DPO on pairs of actions.

    Args:
        pair: (P, 2) places in `action`, the better first, for the utterances of the batch that are usable.
    """
    if not len(pair):
        return nothing(usable.device, stats)
    keep = [i for i in usable.nonzero()[:, 0].tolist() for _ in range(2)]
    texts, spks = [batch.texts[i] for i in keep], [batch.spks[i] for i in keep]
    index = pair.flatten()
    width = int(action.lengths[index].max())
    chosen = Action(action.values[index, :width], action.lengths[index])
    with torch.no_grad():
        reference = origin.tts.logp(texts, spks, chosen, spread).view(-1, 2)
    return compared(models.tts.logp(texts, spks, chosen, spread).view(-1, 2), reference, beta, stats)


def stacked(a: Action, b: Action) -> Action:
    """Two batches of actions as one."""
    width = max(a.values.size(1), b.values.size(1))
    values = [nn.functional.pad(x.values, (0, 0, 0, width - x.values.size(1))) for x in (a, b)]
    return Action(torch.cat(values), torch.cat([a.lengths, b.lengths]))


def spread_of(values: Mapping[str, Any] | None) -> Spread:
    """The policy's deviations from a recipe.

    Raises:
        UserError: an unknown name, or a deviation that is not above 0.
    """
    known = Spread.__dataclass_fields__
    for name, value in (values or {}).items():
        if name not in known or not value > 0:
            raise UserError(f"spread: {name}: {value}", "args", f"values above 0 for: {', '.join(known)}")
    return Spread(**(values or {}))


def positive(value: float) -> float:
    if not value > 0:
        raise UserError(f"{value} is not above 0", "args", "beta and temperature are positive")
    return value
