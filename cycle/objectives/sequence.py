"""Losses on whole transcripts, by their reward: self-critical sequence training and minimum word error rate.

Both search or sample without gradient and then score the same texts with gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cycle.data.batch import Batch, Loss
from cycle.data.kinds import HEARD
from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.models.recognizer import Branch
from cycle.objectives.base import Models, Name, Origin, nothing
from cycle.objectives.judging import TextJudge, skipped
from cycle.settings import Search


def others_mean(reward: Tensor, valid: Tensor) -> Tensor:
    """Baseline of each sample: the mean reward of the other samples of its utterance (Luo 2020, arXiv:2003.09971; Kool et al. 2019).

    Independent of the sample itself, so the gradient stays unbiased.

    Args:
        reward: (B, N); valid: (B, N).

    Returns:
        (B, N); a sample without valid others gets its own reward, which leaves it without a gradient.
    """
    kept = reward * valid
    others = valid.sum(-1, keepdim=True) - valid.long()
    return torch.where(others > 0, (kept.sum(-1, keepdim=True) - kept) / others.clamp(min=1), reward)


def policy_gradient(logp: Tensor, reward: Tensor, baseline: Tensor, valid: Tensor) -> Tensor:
    """REINFORCE with a baseline (Williams 1992): minimising it raises the expected reward.

    Args:
        logp: (B, N) log-probabilities of samples, with gradient.
        reward: (B, N); baseline: (B, N) or (B, 1); valid: (B, N) false where a sample was not judged.

    Returns:
        (B,) - mean over valid samples of (reward - baseline) logp; only its gradient has a meaning.
    """
    advantage = ((reward - baseline) * valid).detach()
    return -(advantage * logp).sum(-1) / valid.sum(-1).clamp(min=1)


def expected_risk(logp: Tensor, risk: Tensor, valid: Tensor) -> Tensor:
    """Expected risk over an N-best list with renormalised probabilities (Prabhavalkar et al. 2018, arXiv:1712.01818).

    Args:
        logp: (B, N) log-probabilities, with gradient.
        risk: (B, N) what each hypothesis costs, without gradient.
        valid: (B, N) false where a list is shorter than N; every row has a true entry.

    Returns:
        (B,) sum_n p_n (risk_n - mean risk), p the softmax of logp over the valid entries. Subtracting the mean changes no gradient, since
        the p_n sum to one, and makes the value comparable between utterances.
    """
    p = logp.masked_fill(~valid, -torch.inf).softmax(-1)
    count = valid.sum(-1, keepdim=True)
    centred = risk - (risk * valid).sum(-1, keepdim=True) / count
    return (p * centred.masked_fill(~valid, 0.0)).sum(-1)


class Scst:
    """Self-critical sequence training (Rennie et al. 2017, arXiv:1612.00563): samples that beat the baseline become more probable.

    Args:
        reward: see `TextJudge`.
        level: unit of the error rate.
        samples: transcripts drawn for each utterance.
        baseline: `others` (mean of the other samples) or `greedy` (the best path, or the most probable token at each place).
        by: the branch that samples and scores, ctc or attention.
        temperature: of sampling and scoring alike; the policy is the tempered one.
        varied: the recogniser hears the speech as in training, see `heard`.

    Raises:
        UserError: an argument that cannot be.
    """

    trains: frozenset[Name] = frozenset({"asr"})
    streams = HEARD

    def __init__(
        self,
        reward: Mapping[str, float] | None = None,
        level: str = "token",
        samples: int = 4,
        baseline: str = "others",
        by: Branch = "ctc",
        temperature: float = 1.0,
        varied: bool = False,
    ):
        self.judge = TextJudge(reward or {"error_rate": 1.0}, level)
        if baseline not in ("others", "greedy"):
            raise UserError(f"baseline: {baseline!r}", "args", "choose one of: others, greedy")
        if samples < (2 if baseline == "others" else 1) or temperature <= 0:
            raise UserError(f"samples: {samples}, temperature: {temperature}", "args", "others needs two samples; temperature is above 0")
        self.samples, self.baseline, self.by, self.temperature, self.varied = samples, baseline, branch(by), temperature, varied
        self.needs_texts, self.needs_labels = self.judge.needs_texts, self.judge.needs_labels

    def begin(self, origin: Origin) -> None:
        self.judge.begin(origin)

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None
        speech = heard(batch.speech, models, self.varied)
        drawn = models.asr.sample(speech, self.samples, self.temperature, self.by)
        if self.baseline == "greedy":
            best = models.asr.sample(speech, 1, 0.0, self.by)
            reward, valid = self.judge(batch, [row + one for row, one in zip(drawn, best, strict=True)], models)
            reward, baseline, valid = reward[:, :-1], reward[:, -1:], valid[:, :-1] & valid[:, -1:]
        else:
            reward, valid = self.judge(batch, drawn, models)
            baseline = others_mean(reward, valid)
        stats = {"reward": mean(reward, valid), "advantage": mean((reward - baseline).abs(), valid), "skipped": skipped(valid)}
        rows = int(valid.any(-1).sum())
        if not rows:
            return nothing(reward.device, stats)
        logp = models.asr.logp(speech, drawn, self.by, self.temperature)
        return Loss(policy_gradient(logp, reward, baseline, valid).sum() / rows, rows, stats)


class Mwer:
    """Minimum word error rate: the expected risk over the N-best list of a batched search.

    Args:
        reward: see `TextJudge`; the risk is minus the reward, with `error_rate` the errors as a share of the reference.
        level: unit of the error rate: word or syllable for the rate that is reported.
        nbest: length of the list.
        by: the branch whose probabilities are moved, ctc or attention.
        search: what finds the list: ctc_beam (prefix beam search) or joint (CTC and attention together) or attention.
        varied: the recogniser hears the speech as in training, see `heard`.

    Raises:
        UserError: an argument that cannot be.
    """

    trains: frozenset[Name] = frozenset({"asr"})
    streams = HEARD

    def __init__(
        self,
        reward: Mapping[str, float] | None = None,
        level: str = "token",
        nbest: int = 4,
        by: Branch = "ctc",
        search: str = "ctc_beam",
        varied: bool = False,
    ):
        self.judge = TextJudge(reward or {"error_rate": 1.0}, level)
        self.search, self.by, self.varied = list_search(search, nbest), branch(by), varied
        self.needs_texts, self.needs_labels = self.judge.needs_texts, self.judge.needs_labels

    def begin(self, origin: Origin) -> None:
        self.judge.begin(origin)

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None
        speech = heard(batch.speech, models, self.varied)
        lists = [[hyp.text for hyp in hyps] for hyps in models.asr.transcribe(speech, self.search)]
        reward, valid = self.judge(batch, lists, models)
        if not reward.size(1):
            return nothing(reward.device, {})
        rows = valid.sum(-1) > 1  # a single hypothesis has nothing to be compared with
        stats = {
            "reward": mean(reward, valid),
            "best": mean(reward.masked_fill(~valid, -torch.inf).amax(-1), rows),
            "skipped": skipped(rows),
        }
        if not bool(rows.any()):
            return nothing(reward.device, stats)
        logp = models.asr.logp(speech, filled(lists, reward.size(1)), self.by)
        value = expected_risk(logp[rows], -reward[rows], valid[rows]).mean()
        return Loss(value, int(rows.sum()), {"loss": value.detach(), **stats})


def heard(speech: Speech, models: Models, varied: bool) -> Speech:
    """What the recogniser searches, samples and scores on: speech as it is, or as in training.

    A recogniser knows its few pairs by heart: on their recordings it makes no errors to learn from, on their variations it does.
    """
    return models.asr.as_in_training(speech) if varied else speech


def list_search(method: str, nbest: int) -> Search:
    """A search for lists to choose from.

    Raises:
        UserError: one that finds no lists, or a list of one.
    """
    if nbest < 2 or method not in ("ctc_beam", "joint", "attention"):
        raise UserError(f"nbest: {nbest}, search: {method}", "args", "a list needs two hypotheses, of ctc_beam, joint or attention")
    return Search(method, beam=max(8, nbest), nbest=nbest)


def branch(by: str) -> Branch:
    """Checks the name of a branch.

    Raises:
        UserError: no such branch.
    """
    if by not in ("ctc", "attention"):
        raise UserError(f"by: {by!r}", "args", "choose one of: ctc, attention")
    return by  # type: ignore[return-value]


def filled(lists: list[list[str]], width: int) -> list[list[str]]:
    """Lists of one length: short ones are filled up with their first text, or with the empty one; what fills is masked."""
    return [row + (row[:1] or [""]) * (width - len(row)) for row in lists]


def mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of the values that count; 0 where none does."""
    return values.masked_fill(~where, 0.0).sum() / where.sum().clamp(min=1)
