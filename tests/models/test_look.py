"""What figures ask the models for."""

import pytest
import torch

from cycle.models import attention
from cycle.models.align import durations
from cycle.models.checkpoint import model_conf
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.vocabulary import Vocabulary
from cycle.settings import Model
from tests.models.test_espnet import ASR, TEXTS, TTS, batch, recognizer, synthesizer
from tests.models.test_free_running import SMALL


def test_a_recording_as_both_branches_see_it():
    model, data = recognizer().train(), batch()
    one = type(data.speech)(data.speech.feats[:1, :40], data.speech.lengths[:1])
    logp, path, seen = model.look(one, TEXTS[0])
    assert seen.shape == (4, len(logp)) and path.shape == (len(logp),)
    torch.testing.assert_close(seen.sum(1), torch.ones(4))  # three tokens and the end
    torch.testing.assert_close(logp.exp().sum(1), torch.ones(len(logp)))
    assert {int(s) // 2 for s in path if s % 2} == {0, 1, 2}  # every token sounds
    assert int(durations(path[None], torch.tensor([len(logp)]), torch.tensor([3])).sum()) == len(logp)
    assert model.training  # as it was


def test_fused_attention_shows_its_weights():
    """Fused kernels keep none; asked for them, the decoder says the same by the plain way."""
    model, data = recognizer().eval(), batch()
    ids, lengths = model.vocabulary.encode(TEXTS)
    out, frames = model._encode(data.speech)
    plain = attention.weights(model.model.decoder, out, frames, ids, lengths, model.model.eos)
    look = model.model.decoder.decoders[-1].src_attn
    look.use_sdpa = True
    fused = attention.weights(model.model.decoder, out, frames, ids, lengths, model.model.eos)
    torch.testing.assert_close(plain, fused)
    assert look.use_sdpa is True
    assert float(plain[1, 0, int(frames[1]) :].sum().detach()) == 0  # nothing behind the end of the shorter recording


def test_a_decoder_without_such_weights():
    conf = model_conf(Model("conf/asr/conformer.yaml", {k: v for k, v in ASR.items() if k != "decoder_conf"}))
    conf |= {"decoder": "rnn", "decoder_conf": {"hidden_size": 16}}
    model = EspnetRecognizer(Vocabulary.of(TEXTS), 80, conf)
    assert model.look(batch().speech.__class__(batch().speech.feats[:1], batch().speech.lengths[:1] * 0 + 50), TEXTS[0])[2] is None


@pytest.mark.parametrize("kind", ["fastspeech2", "tacotron2", "transformer"])
def test_a_sentence_with_its_rhythm(kind):
    model = synthesizer(conf=f"conf/tts/{kind}.yaml", extra={"tts_conf": SMALL[kind]} if kind in SMALL else TTS).eval()
    feats, frames = model.spoken(TEXTS[0], "s1")
    assert frames.shape == (4,) and (frames >= 0).all()
    assert abs(int(frames.sum()) - len(feats)) <= getattr(model.tts, "reduction_factor", 1)
