"""The wrappers against stock ESPnet: what we save opens there and says the same."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from cycle.config import ROOT, load
from cycle.data.batch import Batch, speech_of
from cycle.errors import UserError
from cycle.models.checkpoint import model_conf
from cycle.models.espnet import at_first_call
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.espnet_tts import EspnetSynthesizer
from cycle.models.pair import build_asr
from cycle.models.synthesizer import Variation
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.settings import Model, Search

TEXTS = ["a b c", "b a", "c c a b a"]
SPKS = ["s1", "s2", "s1"]
ASR = {
    "encoder_conf": {"output_size": 16, "linear_units": 32, "num_blocks": 1, "attention_heads": 2},
    "decoder_conf": {"linear_units": 32, "num_blocks": 1, "attention_heads": 2},
}
TTS = {"tts_conf": {"adim": 16, "eunits": 32, "dunits": 32, "elayers": 1, "dlayers": 1, "duration_predictor_chans": 16,
                    "pitch_predictor_chans": 16, "energy_predictor_chans": 16}}  # fmt: skip


def recognizer() -> EspnetRecognizer:
    torch.manual_seed(0)
    return EspnetRecognizer(Vocabulary.of(TEXTS), 80, model_conf(Model("conf/asr/conformer.yaml", ASR)))


def synthesizer(spks=("s1", "s2"), conf="conf/tts/fastspeech2.yaml", extra=TTS) -> EspnetSynthesizer:
    torch.manual_seed(0)
    model = EspnetSynthesizer(
        Vocabulary.of(TEXTS),
        Voices(tuple(spks), (5.0, 0.3), (0.0, 1.0), np.eye(len(spks)) if len(spks) > 1 else None),
        80,
        model_conf(Model(conf, extra)),
    )
    if model.needs_durations:
        torch.nn.init.constant_(model.tts.duration_predictor.linear.bias, 1.5)  # an untrained one predicts no frames
    return model


def batch() -> Batch:
    rng = np.random.default_rng(0)
    speech = speech_of([rng.normal(size=(n, 80)).astype(np.float32) for n in (40, 30, 50)])
    durations = torch.tensor([[10, 10, 10, 10, 0, 0], [10, 10, 10, 0, 0, 0], [10, 10, 10, 10, 5, 5]])
    return Batch(["1", "2", "3"], SPKS, TEXTS, speech, torch.full((3, 50), 5.0), durations)


def test_stock_speech2text_agrees(tmp_path):
    from espnet2.bin.asr_inference import Speech2Text

    model = recognizer()
    model.save(tmp_path)
    speech = batch().speech
    for weight in (0.3, 1.0):
        stock = Speech2Text(tmp_path / "config.yaml", tmp_path / "model.pth", beam_size=3, ctc_weight=weight, lm_weight=0.0)
        ours = model.transcribe(speech, Search("joint", beam=3, ctc_weight=weight))
        for i, length in enumerate(speech.lengths):
            text, _, _, hyp = stock(speech.feats[i, :length])[0]
            assert ours[i][0].text == text
            assert ours[i][0].logp == pytest.approx(float(hyp.score), abs=1e-3)


def test_stock_text2speech_agrees(tmp_path):
    from espnet2.bin.tts_inference import Text2Speech

    model = synthesizer()
    model.save(tmp_path)
    stock = Text2Speech(tmp_path / "config.yaml", tmp_path / "model.pth")
    made = model.synthesize(TEXTS, SPKS).speech
    for i, (text, spk) in enumerate(zip(TEXTS, SPKS, strict=True)):
        alone = stock(text, spembs=model.voices.embeddings([spk], torch.device("cpu"))[0])["feat_gen"]
        assert len(alone) == made.lengths[i]
        torch.testing.assert_close(made.feats[i, : len(alone)], alone, atol=1e-4, rtol=0)


def test_load_round_trip(tmp_path):
    asr, tts = recognizer(), synthesizer()
    asr.save(tmp_path / "asr")
    tts.save(tmp_path / "tts")
    speech = batch().speech
    again = EspnetRecognizer.load(tmp_path / "asr", 80)
    torch.testing.assert_close(again.logp(speech, [["a"], ["b"], ["c"]]), asr.logp(speech, [["a"], ["b"], ["c"]]))
    spoken = EspnetSynthesizer.load(tmp_path / "tts", 80, tts.voices).synthesize(TEXTS, SPKS)
    torch.testing.assert_close(spoken.speech.feats, tts.synthesize(TEXTS, SPKS).speech.feats)
    (tmp_path / "asr" / "model.pth").write_bytes(b"cut short")
    with pytest.raises(UserError, match="no checkpoint"):
        EspnetRecognizer.load(tmp_path / "asr", 80)


def test_loading_draws_no_weights(tmp_path):
    """They would be replaced at once, and take longer than reading them."""
    models = recognizer(), synthesizer()
    for model, name in zip(models, ("asr", "tts"), strict=True):
        model.save(tmp_path / name)
    state = torch.get_rng_state()
    again = EspnetRecognizer.load(tmp_path / "asr", 80), EspnetSynthesizer.load(tmp_path / "tts", 80, models[1].voices)
    assert torch.equal(torch.get_rng_state(), state)
    for model, other in zip(models, again, strict=True):
        torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)
    recognizer()
    assert not torch.equal(torch.get_rng_state(), state)


def test_logp_has_gradient_and_no_noise():
    model = recognizer().train()
    speech = batch().speech
    texts = [["a b", "a"], ["b", "b a"], ["c", "a b c"]]
    first = model.logp(speech, texts)
    torch.testing.assert_close(first, model.logp(speech, texts))
    assert model.training and first.shape == (3, 2) and (first <= 0).all()
    first.sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in model.model.encoder.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in model.model.encoder.parameters()) > 10


def test_padding_does_not_change_logp():
    model, speech = recognizer(), batch().speech
    alone = torch.cat([model.logp(type(speech)(speech.feats[i : i + 1, :n], speech.lengths[i : i + 1]), [[TEXTS[i]]])
                       for i, n in enumerate(speech.lengths)])  # fmt: skip
    torch.testing.assert_close(model.logp(speech, [[t] for t in TEXTS]), alone, atol=1e-4, rtol=1e-4)


def test_synthesis_carries_gradient_and_varies():
    model = synthesizer()
    made = model.synthesize(TEXTS, SPKS, grad=True)
    made.speech.feats.sum().backward()
    assert model.tts.feat_out.weight.grad.abs().sum() > 0
    varied = [
        model.synthesize(TEXTS, SPKS, variation=Variation(0.2, 0.2, 0.5, 0.5), generator=torch.Generator().manual_seed(n))
        for n in (1, 1, 2)
    ]
    torch.testing.assert_close(varied[0].speech.feats, varied[1].speech.feats)
    assert not torch.equal(varied[0].durations, varied[2].durations)
    assert (made.durations.sum(1) == made.speech.lengths).all()


def test_losses_are_finite_and_move_every_model():
    for model in (recognizer(), synthesizer()):
        loss = model.loss(batch())
        loss.value.backward()
        assert torch.isfinite(loss.value) and loss.weight == 3
        assert sum(p.grad.abs().sum() > 0 for p in model.parameters() if p.grad is not None) > 10


def test_score_prefers_its_own_rendering():
    model = synthesizer()
    made = model.synthesize(TEXTS, SPKS)
    own = Batch(["1", "2", "3"], SPKS, TEXTS, made.speech, torch.full(made.speech.feats.shape[:2], 5.0), made.durations)
    noise = Batch(["1", "2", "3"], SPKS, TEXTS, type(made.speech)(made.speech.feats + 1.0, made.speech.lengths), own.f0, made.durations)
    assert (model.score(own) > model.score(noise)).all()


def test_tacotron_comes_by_yaml():
    conf = {"tts": "tacotron2", "tts_conf": {"embed_dim": 8, "elayers": 1, "eunits": 8, "econv_chans": 8, "dlayers": 1, "dunits": 8,
            "prenet_units": 8, "postnet_layers": 1, "postnet_chans": 8, "adim": 8, "aconv_chans": 4}}  # fmt: skip
    model = EspnetSynthesizer(Vocabulary.of(TEXTS), Voices(("s1", "s2"), (5.0, 0.3), (0.0, 1.0), np.eye(2)), 80, conf)
    assert torch.isfinite(model.loss(batch()).value)
    assert model.synthesize(TEXTS[:1], SPKS[:1]).speech.feats.shape[2] == 80
    assert model.score(batch()).shape == (3,)


def test_gan_and_unknown_keys_are_refused_in_one_line():
    with pytest.raises(UserError, match="GAN"):
        synthesizer(extra={"tts": "vits"})
    with pytest.raises(UserError, match="colour"):
        EspnetRecognizer(Vocabulary.of(TEXTS), 80, {"colour": 1})


def test_types_are_checked_from_the_first_call_on():
    """Half of the time that ESPnet takes to import would go into checks of functions that nobody calls."""
    begun = []

    def decorate(target=None, **options):
        begun.append((target, options))
        return (lambda *given: [target(*given)]) if target else decorate

    late = at_first_call(decorate)

    @late
    def double(x):
        """Twice."""
        return 2 * x

    assert begun == [] and double.__doc__ == "Twice."
    assert [double(1), double(2)] == [[2], [4]] and len(begun) == 1
    assert late(int)("3") == [3] and late(some="option") is decorate and begun[-2:] == [(int, {}), (None, {"some": "option"})]
    counting = "import typeguard._decorators as d; from unittest.mock import Mock; d.instrument = Mock(side_effect=d.instrument)\n"
    code = counting + "import cycle.models.espnet; print(d.instrument.call_count)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 20  # of some 200
    with pytest.raises(UserError, match=r'argument "num_blocks" \(str\) is not an instance of int'):
        build_asr(load("mini", "cycle", ["asr.conf.encoder_conf.num_blocks=many"]), Vocabulary.of(TEXTS))
