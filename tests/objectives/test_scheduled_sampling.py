"""Scheduled sampling: schedules by hand, the share that arrives at the decoder, and what is refused."""

import math

import pytest
import torch

from cycle.errors import UserError
from cycle.objectives.scheduled_sampling import AsrScheduledSampling, TtsScheduledSampling, true_share
from tests.models.test_espnet import batch
from tests.objectives.tiny import descent, pair, started, tacotron


@pytest.mark.parametrize(
    ("schedule", "k", "i", "value"),
    [
        ("linear", 0.01, 0, 1.0),
        ("linear", 0.01, 30, 0.7),
        ("linear", 0.01, 90, 0.2),  # the floor
        ("exponential", 0.98, 50, 0.98**50),
        ("exponential", 0.5, 10, 0.2),
        ("inverse_sigmoid", 15, 0, 15 / 16),
        ("inverse_sigmoid", 15, 45, 15 / (15 + math.e**3)),
        ("inverse_sigmoid", 0.1, 99, 0.2),  # e to the 990 is no float
    ],
)
def test_schedules_by_hand(schedule, k, i, value):
    assert true_share(schedule, i, k, 0.2) == pytest.approx(value)


@pytest.mark.parametrize("schedule", ["linear", "exponential", "inverse_sigmoid"])
def test_own_inputs_grow_to_the_most(schedule):
    objective = started(AsrScheduledSampling(schedule, least=0.3))  # 100 updates
    shares = [objective.own_share(step) for step in range(100)]
    assert shares == sorted(shares) and shares[0] < 0.1 and shares[-1] == pytest.approx(0.7)


def test_no_own_inputs_is_the_supervised_loss():
    objective, models, data = started(AsrScheduledSampling()), pair(), batch()
    torch.manual_seed(0)
    loss = objective(data, models, 0)
    torch.manual_seed(0)
    torch.testing.assert_close(loss.value, models.asr.loss(data).value)
    assert loss.stats["own_inputs"] == 0.0
    torch.manual_seed(0)
    late = objective(data, models, 99)
    assert late.stats["own_inputs"] == pytest.approx(0.5) and not torch.equal(late.value, loss.value)
    torch.testing.assert_close(late.stats["loss_ctc"], loss.stats["loss_ctc"])  # CTC reads no text


@pytest.mark.parametrize("make", ["asr", "tts"])
def test_it_learns(make):
    objective = AsrScheduledSampling(least=0.5) if make == "asr" else TtsScheduledSampling(least=0.5)
    models = pair() if make == "asr" else pair(tacotron)
    logged = descent(started(objective), models, batch(), 40 if make == "asr" else 8, lr=1e-2)
    assert logged[-1]["loss"] < logged[0]["loss"] - 0.1


def test_fastspeech_is_refused():
    with pytest.raises(UserError, match=r"tacotron2\.yaml"):
        started(TtsScheduledSampling())(batch(), pair(), 0)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="linear, exponential"):
        AsrScheduledSampling("cosine")
    with pytest.raises(UserError, match="least"):
        AsrScheduledSampling(least=1.5)
    for schedule, k in (("linear", -0.01), ("exponential", 1.5), ("inverse_sigmoid", 0.0), ("inverse_sigmoid", math.inf)):
        with pytest.raises(UserError, match=f"k: .*for {schedule} a number above 0"):
            AsrScheduledSampling(schedule, k)
