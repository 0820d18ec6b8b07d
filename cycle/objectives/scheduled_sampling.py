"""Scheduled sampling: a decoder that learns on its own outputs, more and more of them (Bengio et al. 2015, arXiv:1506.03099)."""

from __future__ import annotations

import math
from collections.abc import Callable

from cycle.data.batch import Batch, Loss
from cycle.data.kinds import ALIGNED, TEXTS
from cycle.errors import UserError
from cycle.objectives.base import Models, Name, Origin

SCHEDULES: dict[str, tuple[Callable[[float, float], float], float]] = {
    "linear": (lambda i, k: 1 - k * i, 0.01),
    "exponential": (lambda i, k: k**i, 0.98),
    "inverse_sigmoid": (lambda i, k: k / (k + math.exp(min(i / k, 700.0))), 15.0),  # beyond it a float has no room
}  # with the usual k of each, for i from 0 to 100


def true_share(schedule: str, i: float, k: float, least: float) -> float:
    """The probability that an input is the true one.

    Args:
        schedule: linear 1 - k i, exponential k^i, or inverse_sigmoid k / (k + exp(i / k)).
        i: how far training is; here the per cent of the round's updates, so that a schedule means the same in short and long rounds.
        least: it never falls below.
    """
    return max(least, SCHEDULES[schedule][0](i, k))


class _Scheduled:
    """The schedule of both objectives.

    Args:
        schedule: linear, exponential or inverse_sigmoid.
        k: its parameter; the default depends on the schedule.
        least: the smallest share of true inputs.

    Raises:
        UserError: no such schedule, a `k` that gives no shares, or a share outside of 0 to 1.
    """

    def __init__(self, schedule: str = "linear", k: float | None = None, least: float = 0.5):
        if schedule not in SCHEDULES:
            raise UserError(f"schedule: {schedule!r}", "args", f"choose one of: {', '.join(SCHEDULES)}")
        if not 0 <= least <= 1:
            raise UserError(f"least: {least}", "args", "a share from 0 to 1")
        if k is not None and not 0 < k < (1 if schedule == "exponential" else math.inf):
            raise UserError(f"k: {k}", "args", f"for {schedule} a number above 0{' and below 1' if schedule == 'exponential' else ''}")
        self.schedule, self.k, self.least = schedule, SCHEDULES[schedule][1] if k is None else k, least
        self.updates = 0

    def begin(self, origin: Origin) -> None:
        self.updates = origin.updates

    def own_share(self, step: int) -> float:
        assert self.updates, "begin() comes first"
        return 1 - true_share(self.schedule, 100 * step / self.updates, self.k, self.least)


class AsrScheduledSampling(_Scheduled):
    """ESPnet's CTC/attention loss with some of the attention decoder's inputs drawn from its own prediction (two passes, see
    `cycle.models.attention.own_inputs`)."""

    trains: frozenset[Name] = frozenset({"asr"})
    streams = TEXTS

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        share = self.own_share(step)
        loss = models.asr.loss(batch, own_inputs=share)
        return Loss(loss.value, loss.weight, {**loss.stats, "own_inputs": share})


class TtsScheduledSampling(_Scheduled):
    """Tacotron 2's loss with its own last frame in place of the true one at some of the steps.

    Raises:
        UserError: (at the first update) the synthesiser is not autoregressive.
    """

    trains: frozenset[Name] = frozenset({"tts"})
    streams = ALIGNED

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        if models.tts.needs_durations:
            raise UserError("scheduled sampling needs an autoregressive synthesiser", "tts.config", "use conf/tts/tacotron2.yaml")
        share = self.own_share(step)
        loss = models.tts.loss(batch, own_inputs=share)
        return Loss(loss.value, loss.weight, {**loss.stats, "own_inputs": share})
