"""Rewards by hand: higher is better, None where there is nothing to judge."""

import math

import pytest
import torch

from cycle import rewards
from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.models.frame_ctc import FrameCTC
from cycle.models.ngram import NGram
from cycle.models.speaker import long_term_spectrum
from cycle.models.vocabulary import Vocabulary
from cycle.settings import FrameModel
from tests.models.test_espnet import SPKS, TEXTS, batch, recognizer, synthesizer


def aligner() -> FrameCTC:
    torch.manual_seed(0)
    return FrameCTC(
        Vocabulary.of(TEXTS),
        80,
        FrameModel(channels=8, convs=2, layers=1, label_prior=0.0, subsample=1, updates=1, lr=1e-3, batch_frames=100),
    ).eval()


@pytest.mark.parametrize(
    ("level", "value"),
    [("token", -2 / 4), ("syllable", -2 / 2), ("toneless", -1 / 2)],  # zh ong1 g uo2 heard as zh ang1 g uo4
)
def test_error_rate_in_every_unit(level, value):
    of = rewards.units("cmn", level)
    assert rewards.error_rate(["zh ang1 g uo4"], ["zh ong1 g uo2"], of) == [value]


def test_error_rate_of_letters():
    hyp, ref = "a b | d", "a b | c"
    assert rewards.error_rate([hyp], [ref], rewards.units("letters", "char")) == [-1 / 4]
    assert rewards.error_rate([hyp], [ref], rewards.units("letters", "word")) == [-1 / 2]
    with pytest.raises(UserError, match=r"no 'syllable'.*char, token, unit, word"):
        rewards.units("letters", "syllable")


@pytest.mark.parametrize(
    ("language", "hyp", "ref", "value"),
    [
        ("cmn", "zh ang1 g uo2", "zh ong1 g uo2", -1 / 2),
        ("letters", "a b | d", "a b | c", -1 / 2),
        ("captions", "a dog", "a cat barks", -2 / 3),
    ],
)
def test_the_unit_that_a_language_is_judged_by(language, hyp, ref, value):
    assert rewards.error_rate([hyp], [ref], rewards.units(language, "unit")) == [value]


def test_error_rate_without_reference_does_not_judge():
    assert rewards.error_rate(["a", "", "a b b b"], ["", "a", "a b"]) == [None, -1.0, -1.0]


def test_text_prior_by_hand():
    prior = NGram.fit([["a", "b"], ["a", "b"], ["b", "a"]], order=2)
    values = rewards.text_prior(["a b", "b b", ""], prior)
    assert values[0] == pytest.approx(prior.logp(["a", "b"]) / 3) and values[0] > values[1] and values[2] is None


def test_speaker_similarity():
    torch.manual_seed(0)
    voices = torch.randn(2, 1, 20) * 2  # a spectral tilt each
    one, other = (voices[i] + torch.randn(1, 50, 20) * 0.5 for i in range(2))
    again = voices[0] + torch.randn(1, 30, 20) * 0.5
    lengths = torch.tensor([30])
    same = rewards.speaker_similarity(Speech(again, lengths), Speech(one, torch.tensor([50])))[0]
    different = rewards.speaker_similarity(Speech(again, lengths), Speech(other, torch.tensor([50])))[0]
    assert same > 0.9 > different
    louder = rewards.speaker_similarity(Speech(again + 1.7, lengths), Speech(one, torch.tensor([50])))[0]
    assert louder == pytest.approx(same, abs=1e-5)
    padded = Speech(torch.nn.functional.pad(again, (0, 0, 0, 9), value=5.0), lengths)
    torch.testing.assert_close(long_term_spectrum(padded), long_term_spectrum(Speech(again, lengths)))
    assert rewards.speaker_similarity(Speech(again, torch.tensor([0])), Speech(one, torch.tensor([50]))) == [None]


def test_long_term_spectrum_by_hand():
    feats = torch.tensor([[[0.0, 2.0], [2.0, 8.0], [99.0, 99.0]]])
    spectrum = long_term_spectrum(Speech(feats, torch.tensor([2])))
    # means 1 and 5, less their mean 3; deviations 1 and 3, less their mean 2
    torch.testing.assert_close(spectrum, torch.tensor([[-2.0, 2.0, -1.0, 1.0]]), atol=1e-4, rtol=0)


def test_reconstruction_is_the_synthesisers_score_of_its_own_recording():
    data, tts, align = batch(), synthesizer(), aligner()
    values = rewards.reconstruction(data, [1, 0, 1, 2], ["a b", "a b c", "", " ".join(["a", "b"] * 60)], tts, align)
    assert values[2] is None and values[3] is None and None not in values[:2]
    for value, place, text in ((values[0], 1, "a b"), (values[1], 0, "a b c")):
        n = int(data.speech.lengths[place])
        alone = Speech(data.speech.feats[place : place + 1, :n], data.speech.lengths[place : place + 1])
        durations, _ = align.align(alone, [text])
        single = type(data)(["x"], [SPKS[place]], [text], alone, data.f0[place : place + 1, :n], durations)
        assert value == pytest.approx(float(tts.score(single)), abs=1e-4)
    assert rewards.reconstruction(data, [0], [""], tts, align) == [None]


def test_aligned_keeps_recordings_and_texts_in_step():
    data, align = batch(), aligner()
    out, fits = rewards.aligned(data, [2, 0, 1], ["a", " ".join(["a", "b"] * 60), "b a c"], align)
    assert fits == [True, False, True] and out.texts == ["a", "b a c"] and out.utt_ids == ["3", "2"] and out.spks == [SPKS[2], SPKS[1]]
    assert out.durations.shape == (2, 4) and out.durations.sum(1).tolist() == [50, 30]
    torch.testing.assert_close(out.speech.feats, data.speech.feats[[2, 1]])
    assert rewards.aligned(data, [0], [" ".join(["a", "b"] * 60)], align) == (None, [False])


def test_heard_is_the_recognisers_error():
    data, asr = batch(), recognizer()
    heard = [row[0].text for row in asr.transcribe(data.speech, rewards.Search("ctc_greedy"))]
    assert rewards.heard(data.speech, TEXTS, asr) == rewards.error_rate(heard, TEXTS)


def test_mixture_and_what_cannot_be_judged():
    assert rewards.mixture([(1.0, [1.0, None, 3.0]), (0.5, [2.0, 1.0, -2.0])]) == [2.0, None, 2.0]
    assert rewards.mixture([(2.0, [])]) == []


def test_named_finds_mistakes():
    assert rewards.named({"a": 1, "b": 0}, ("a", "b"), "reward") == {"a": 1.0}
    with pytest.raises(UserError, match=r"reward: no reward 'c'.*a, b"):
        rewards.named({"c": 1.0}, ("a", "b"), "reward")
    with pytest.raises(UserError, match="no reward has a weight"):
        rewards.named({"a": 0.0}, ("a", "b"), "reward")


def test_table():
    values, valid = rewards.table([[1.0, None], [], [2.0, 3.0, -1.0]], torch.device("cpu"))
    assert values.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 3.0, -1.0]]
    assert valid.tolist() == [[True, False, False], [False] * 3, [True] * 3]
    empty, _ = rewards.table([[], []], torch.device("cpu"))
    assert empty.shape == (2, 0)
    assert math.isclose(float(values.sum()), 5.0)
