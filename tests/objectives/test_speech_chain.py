"""The judges: values by hand, gradients against autograd on the formula, audio and text in step."""

import pytest
import torch

from cycle import rewards
from cycle.errors import UserError
from cycle.objectives.base import Models
from cycle.objectives.speech_chain import (
    AsrThroughTts,
    AsrThroughTtsGumbel,
    AsrThroughTtsReinforce,
    SpeakerConsistency,
    TtsThroughAsr,
)
from tests.models.test_espnet import SPKS, TEXTS, batch, recognizer, synthesizer
from tests.objectives.tiny import descent, moved, origin, pair, started, tacotron, with_lists


@pytest.mark.parametrize("objective", [TtsThroughAsr(), TtsThroughAsr(by="attention"), AsrThroughTts(), SpeakerConsistency()])
def test_each_judge_lowers_what_it_claims(objective):
    logged = descent(objective, pair(), with_lists(), 60)
    assert logged[-1]["loss"] < logged[0]["loss"] - 0.03  # the lists cannot give more than 0.036


def test_an_empty_text_is_left_out():
    models, data = pair(), batch()
    data.texts = [TEXTS[0], "", TEXTS[2]]
    torch.manual_seed(0)
    loss = TtsThroughAsr()(data, models, 0)
    loss.value.backward()
    assert loss.value.isfinite() and float(loss.counts) == 2
    assert all(p.grad is None or p.grad.isfinite().all() for p in models.tts.parameters())


def test_synthesised_text_is_the_text_that_is_judged():
    """Text and speech in step: a permuted text is heard worse once the synthesiser has learnt to be heard."""
    torch.manual_seed(0)
    models, data = Models(recognizer(), synthesizer()), batch()
    rhythm = models.tts.tts.duration_predictor.linear
    torch.nn.init.zeros_(rhythm.weight)  # six frames a token, whatever else is learnt: no gradient keeps durations long enough
    torch.nn.init.constant_(rhythm.bias, 2.0)
    descent(TtsThroughAsr(), models, data, 200, lr=1e-2)
    made = models.tts.synthesize(TEXTS, SPKS).speech
    right = models.asr.logp(made, [[t] for t in TEXTS]).sum()
    wrong = models.asr.logp(made, [[TEXTS[1]], [TEXTS[2]], [TEXTS[0]]]).sum()
    assert right > wrong


@pytest.mark.parametrize("trains", [["asr"], ["tts"], ["asr", "tts"]])
@pytest.mark.parametrize("kind", [TtsThroughAsr, AsrThroughTtsGumbel])
def test_each_side_can_be_frozen(kind, trains):
    assert moved(started(kind(trains=trains)), pair(), batch()) == set(trains)


def test_unknown_sides_are_refused():
    for trains in ([], ["aligner"]):
        with pytest.raises(UserError, match="choose among: asr, tts"):
            TtsThroughAsr(trains=trains)


def test_gumbel_is_the_score_of_what_was_drawn():
    """Its value is the synthesiser's distance under each transcript's own alignment, as the round-trip reward has it."""
    objective, models, data = started(AsrThroughTtsGumbel()), pair(), batch()
    torch.manual_seed(4)
    loss = objective(data, models, 0)
    torch.manual_seed(4)
    drawn = [row[0] for row in models.asr.sample(data.speech, 1, 1.0, "attention")]
    values = [v for v in rewards.reconstruction(data, [0, 1, 2], drawn, models.tts, objective.origin.aligner) if v is not None]
    assert loss.weight == len(values) > 0
    assert float(loss.value.detach()) == pytest.approx(-sum(values) / len(values), abs=1e-4)


@pytest.mark.parametrize("make", [synthesizer, tacotron])
def test_gumbel_gradient_arrives_at_the_recogniser(make):
    models = pair(make)
    assert moved(started(AsrThroughTtsGumbel(), make), models, batch()) == {"asr"}
    assert models.asr.model.decoder.output_layer.weight.grad.abs().sum() > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in models.asr.model.encoder.parameters())


def test_gumbel_lowers_the_distance_it_claims():
    """Both sides at once, so that the distance itself can fall; the mean over fresh draws."""
    logged = descent(started(AsrThroughTtsGumbel(trains=["asr", "tts"])), pair(), batch(), 60)
    first, last = (sum(x["loss"] for x in part) / 10 for part in (logged[:10], logged[-10:]))
    assert last < first - 0.05


def test_reinforce_raises_the_reward_it_claims():
    """A synthesiser that explains shorter texts better teaches the recogniser to be brief."""
    models, data, objective = pair(), batch(), started(AsrThroughTtsReinforce(samples=8))
    models.tts.score = lambda judged: torch.tensor([-float(len(t.split())) for t in judged.texts])
    logged = descent(objective, models, data, 60, lr=1e-2)
    first, last = (sum(x["reward"] for x in part) / 10 for part in (logged[:10], logged[-10:]))
    assert last > first + 1


def test_reinforce_without_a_judgement_is_skipped_and_counted():
    objective, data = started(AsrThroughTtsReinforce()), batch()
    models = pair()
    models.asr.sample = lambda speech, n, *args: [[""] * n] * 3
    loss = objective(data, models, 0)
    assert loss.weight == 0 and float(loss.stats["skipped"]) == 1.0


def test_speaker_consistency_sees_the_right_recording():
    models, data = pair(), batch()
    made = models.tts.synthesize(TEXTS, SPKS).speech
    data.speech = made
    assert float(SpeakerConsistency()(data, models, 0).value.detach()) == pytest.approx(0.0, abs=1e-4)
    data.speech = type(made)(made.feats.flip(-1), made.lengths)  # its spectrum upside down
    assert float(SpeakerConsistency()(data, models, 0).value.detach()) > 0.3


def test_the_origin_stays():
    start = origin()
    objective = AsrThroughTtsGumbel()
    objective.begin(start)
    before = [p.clone() for p in start.asr.parameters()]
    descent(objective, pair(), batch(), 3)
    assert all(torch.equal(a, b) for a, b in zip(before, start.asr.parameters(), strict=True))
