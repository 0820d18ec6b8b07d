"""Pseudo-labels made while training, by a slowly moving average of the student (momentum pseudo-labelling: Higuchi et al. 2021,
arXiv:2106.08922; mean teacher: Tarvainen & Valpola 2017, arXiv:1703.01780)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.batch import Batch, Hypothesis, Loss
from cycle.data.kinds import HEARD
from cycle.device import send
from cycle.errors import UserError
from cycle.eval.errors import distance
from cycle.models.recognizer import Recognizer
from cycle.objectives.base import Models, Name, Origin, nothing
from cycle.objectives.sequence import filled
from cycle.settings import Search

WATCHED = 2000  # utterances whose labels are remembered, to tell how many change


def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves a teacher towards its student: teacher <- momentum teacher + (1 - momentum) student; whole numbers are copied."""
    with torch.no_grad():
        for mine, theirs in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - momentum)
            else:
                mine.copy_(theirs)


def confidence(hyps: Sequence[Hypothesis]) -> float:
    """Log-probability of the whole best hypothesis, per token; minus infinity for none or an empty one.

    It ranks labels far better than the posterior of the list or the largest probability of each frame (docs/cycle.md).
    """
    return hyps[0].logp / len(hyps[0].text.split()) if hyps and hyps[0].text else -math.inf


def posteriors(lists: Sequence[Sequence[Hypothesis]], width: int, sharpness: float, device: torch.device) -> Tensor:
    """(B, width) softmax of sharpness * logp over each list; places behind a list's end get 0."""
    logp = [[h.logp for h in hyps] + [-math.inf] * (width - len(hyps)) for hyps in lists]
    return (sharpness * send(logp, device)).softmax(-1)


class PseudoLabel:
    """The recogniser's own loss on recordings without a text, against the teacher's labels; the student is trained with its noise.

    Args:
        nbest: 1 takes the best hypothesis (hard labels); more weigh the loss of each by its posterior within the list.
        sharpness: multiplies the log-probabilities of the list before their softmax.
        momentum: of the teacher, per call; until call 9 m / (1 - m), the 891st for 0.99, smaller. 1 keeps the teacher of the round's start.
        keep: share of the utterances to learn from, by confidence among those seen last; a list of two is where it begins and ends in a
            round (a curriculum: Cascante-Bonilla et al. 2021, arXiv:2001.06001).
        least: fixed threshold of the confidence (log-probability per token); both must be met.
        window: utterances among which `keep` is a quantile.

    Raises:
        UserError: an argument that cannot be.
    """

    trains: frozenset[Name] = frozenset({"asr"})
    streams = HEARD

    def __init__(
        self,
        nbest: int = 1,
        sharpness: float = 1.0,
        momentum: float = 0.99,
        keep: float | Sequence[float] = 1.0,
        least: float | None = None,
        window: int = 1000,
    ):
        shares = (float(keep),) * 2 if isinstance(keep, (int, float)) else tuple(keep)
        if len(shares) != 2 or not all(0 < share <= 1 for share in shares):
            raise UserError(f"keep: {keep}", "args", "a share above 0 up to 1, or two of them: first and last")
        if nbest < 1 or window < 1 or not 0 <= momentum <= 1:
            raise UserError(f"nbest: {nbest}, window: {window}, momentum: {momentum}", "args", "at least 1, 1; 0 to 1")
        self.search, self.sharpness, self.momentum = Search("ctc_beam", beam=max(8, nbest), nbest=nbest), sharpness, momentum
        self.shares, self.least, self.window = shares, -math.inf if least is None else least, window
        self.calls, self.updates = 0, 0
        self.seen: list[float] = []
        self.labels: dict[str, str] = {}
        self.teacher: Recognizer | None = None

    def begin(self, origin: Origin) -> None:
        self.teacher, self.updates = copy.deepcopy(origin.asr), origin.updates  # others may use origin.asr: this one moves

    def state(self) -> dict[str, Any]:
        assert self.teacher is not None
        return {"teacher": self.teacher.state_dict(), "calls": self.calls, "seen": self.seen, "labels": self.labels}  # type: ignore[attr-defined]

    def load(self, state: dict[str, Any]) -> None:
        assert self.teacher is not None
        self.teacher.load_state_dict(state["teacher"])  # type: ignore[attr-defined]
        self.calls, self.seen, self.labels = state["calls"], list(state["seen"]), dict(state["labels"])

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None and self.teacher is not None
        if self.calls and self.momentum < 1:  # at first they are the same
            follow(self.teacher, models.asr, min(self.momentum, self.calls / (self.calls + 9)))  # type: ignore[arg-type]
        self.calls += 1
        lists = self.teacher.transcribe(batch.speech, self.search)
        sure = [confidence(hyps) for hyps in lists]
        bar = self._bar(sure, step)
        keep = [i for i, value in enumerate(sure) if value >= bar and value > -math.inf]
        stats: dict[str, float | Tensor] = {"kept": len(keep) / len(lists), "churn": self._churn(batch.utt_ids, lists)}
        device = batch.speech.feats.device
        if not keep:
            return nothing(device, stats)
        texts = [[h.text for h in lists[i]] for i in keep]
        width = max(map(len, texts))
        weights = posteriors([lists[i] for i in keep], width, self.sharpness, device)
        loss = models.asr.nbest_loss(batch.speech.rows(keep), filled(texts, width), weights)
        return Loss(loss.value, len(keep), {**loss.stats, **stats})

    def _bar(self, sure: list[float], step: int) -> float:
        """The confidence a label needs: fixed, and the quantile among those seen last."""
        self.seen = (self.seen + [value for value in sure if value > -math.inf])[-self.window :]
        share = self.shares[0] + (self.shares[1] - self.shares[0]) * min(1.0, step / max(1, self.updates - 1))
        if not self.seen or share >= 1:
            return self.least
        return max(self.least, float(torch.tensor(self.seen, dtype=torch.float64).quantile(1 - share)))

    def _churn(self, utts: Sequence[str], lists: Sequence[Sequence[Hypothesis]]) -> float:
        """Share of the tokens that changed since an utterance was labelled last; 0 for those that are new."""
        changed, tokens = 0, 0
        for utt, hyps in zip(utts, lists, strict=True):
            text = hyps[0].text if hyps else ""
            if utt in self.labels:
                changed += distance(self.labels[utt].split(), text.split())
                tokens += max(1, len(self.labels[utt].split()))
            if utt in self.labels or len(self.labels) < WATCHED:
                self.labels[utt] = text
        return changed / max(1, tokens)
