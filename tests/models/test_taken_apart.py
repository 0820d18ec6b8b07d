"""What the wrappers compute themselves, to ask the device less, is what ESPnet's own `forward` computes, training noise included."""

import numpy as np
import pytest
import torch

from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.models import encoder, fastspeech
from cycle.models.attention import IGNORE
from cycle.models.checkpoint import model_conf
from cycle.models.espnet import SpecAug
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.vocabulary import Vocabulary
from cycle.settings import Model
from tests.models.test_espnet import ASR, TEXTS, TTS, batch, synthesizer

NOISY = {"dropout_rate": 0.1, "positional_dropout_rate": 0.1, "attention_dropout_rate": 0.1}
MASKS = {"specaug_conf": {"apply_time_warp": False, "time_mask_width_ratio_range": [0.0, 0.3], "freq_mask_width_range": [0, 30]}}
HYBRIDS = {
    "conformer": ("conf/asr/conformer.yaml", {}),
    "e_branchformer": ("conf/asr/e_branchformer.yaml", {"encoder_conf": {"cgmlp_linear_units": 32, "num_blocks": 1}}),
    "ctc alone": ("conf/asr/conformer.yaml", {"model_conf": {"ctc_weight": 1.0}}),
    "attention alone": ("conf/asr/conformer.yaml", {"model_conf": {"ctc_weight": 0.0}}),
    "inner CTC": ("conf/asr/conformer.yaml", {"encoder_conf": {"num_blocks": 3, "interctc_layer_idx": [1, 2]},
                                              "model_conf": {"interctc_weight": 0.3}}),
    "inner CTC, conditioned": ("conf/asr/conformer.yaml", {"encoder_conf": {"num_blocks": 2, "interctc_layer_idx": [1],
                               "interctc_use_conditioning": True}, "model_conf": {"interctc_weight": 0.3}}),
    "no smoothing": ("conf/asr/conformer.yaml", {"model_conf": {"lsm_weight": 0.0}}),
    "an RNN decoder": ("conf/asr/conformer.yaml", {"decoder": "rnn", "decoder_conf": {"hidden_size": 16}}),
    "masks": ("conf/asr/conformer.yaml", MASKS),
}  # fmt: skip


def recognizer(name: str) -> EspnetRecognizer:
    path, extra = HYBRIDS[name]
    conf = model_conf(Model(path, {**ASR, "encoder_conf": {**ASR["encoder_conf"], **NOISY}}))
    for key, value in extra.items():
        conf[key] = {**conf[key], **value} if isinstance(value, dict) and key != "decoder_conf" else value
    torch.manual_seed(0)
    return EspnetRecognizer(Vocabulary.of(TEXTS), 80, conf)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def compared(model, data, forward):
    """ESPnet's forward and our loss with the same noise: the same value, the same gradients. Returns what both have to log."""
    torch.manual_seed(1)
    value, stats, _ = forward()
    value.backward()
    theirs = gradients(model)
    torch.manual_seed(1)
    ours = model.loss(data)
    ours.value.backward()
    torch.testing.assert_close(ours.value, value.reshape(()))
    torch.testing.assert_close(gradients(model), theirs, atol=1e-5, rtol=1e-4)
    return ours, stats


@pytest.mark.parametrize("name", HYBRIDS)
@pytest.mark.parametrize("training", [True, False])
def test_recogniser_has_espnets_loss(name, training):
    model, data = recognizer(name).train(training), batch()
    ids, lengths = model.vocabulary.encode(TEXTS, padding=IGNORE)
    ours, stats = compared(model, data, lambda: model.model(data.speech.feats.clone(), data.speech.lengths, ids, lengths))
    for key in ("loss_ctc", "loss_att", "acc"):
        assert (key in ours.stats) == (stats.get(key) is not None)
        if key in ours.stats and not (key == "loss_ctc" and "inner" in name):  # ESPnet logs the last layer's alone
            torch.testing.assert_close(ours.stats[key], torch.as_tensor(stats[key]).reshape(()).to(ours.stats[key]))


def test_recurrent_encoders_hear_utterances_in_any_order():
    """Packed sequences want the longest first; what comes back is in the order of the batch."""
    torch.manual_seed(0)
    conf = model_conf(Model("conf/asr/conformer.yaml", ASR)) | {"encoder": "rnn", "encoder_conf": {"hidden_size": 8, "output_size": 16}}
    model, speech = EspnetRecognizer(Vocabulary.of(TEXTS), 80, conf).eval(), batch().speech
    with torch.no_grad():
        out, sizes, _ = encoder.encode(model.model, speech.feats, speech.lengths)
        for row, size, feats, frames in zip(out, sizes, speech.feats, speech.lengths, strict=True):
            alone, its_size, _ = encoder.encode(model.model, feats[None, :frames], frames[None])
            assert size == its_size == alone.size(1)
            torch.testing.assert_close(row[:size], alone[0])


def test_ctc_has_dropout_in_training_alone():
    """ESPnet's applies it in evaluation too."""
    model, data = recognizer("ctc alone").eval(), batch()
    model.model.ctc.dropout_rate = 0.5
    assert torch.equal(model.loss(data).value, model.loss(data).value)
    model.train()
    assert not torch.equal(model.loss(data).value, model.loss(data).value)


def heard(model, speech):
    speech = encoder.augmented(model, speech)
    return encoder.encode(model, speech.feats, speech.lengths)[0]


def test_padding_that_nobody_needs_is_left_out():
    model, speech = recognizer("conformer").eval(), batch().speech
    longer = Speech(torch.nn.functional.pad(speech.feats, (0, 0, 0, 30)), speech.lengths)
    whole, cut = heard(model.model, speech), heard(model.model, longer)
    torch.testing.assert_close(cut, whole)
    blind = Speech(longer.feats, longer.lengths)
    blind.known = None  # as behind operations on a device
    assert heard(model.model, blind).size(1) > whole.size(1)


OTHERS = {
    "normalised by length": {"model_conf": {"length_normalized_loss": True}},
    "masked CTC": {"model": "maskctc", "decoder": "mlm"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_keep_espnets_forward(name):
    """And scheduled sampling says that it cannot have them."""
    conf = model_conf(Model("conf/asr/conformer.yaml", {**ASR, **OTHERS[name]}))
    if name == "masked CTC":
        conf["model_conf"] = {"ctc_weight": 0.3, "report_cer": False, "report_wer": False}
    torch.manual_seed(0)
    model, data = EspnetRecognizer(Vocabulary.of(TEXTS), 80, conf).eval(), batch()
    np.random.seed(1)  # ESPnet's masks
    value, _, _ = model.model(data.speech.feats, data.speech.lengths, *model.vocabulary.encode(TEXTS, padding=IGNORE))
    np.random.seed(1)
    torch.testing.assert_close(model.loss(data).value, value)
    with pytest.raises(UserError, match="CTC and attention"):
        model.loss(data, own_inputs=0.5)


def test_scheduled_sampling_needs_a_decoder():
    with pytest.raises(UserError, match="no attention decoder"):
        recognizer("ctc alone").loss(batch(), own_inputs=0.5)


@pytest.mark.parametrize("warp", [False, True])
@pytest.mark.parametrize(
    "times", [{"time_mask_width_range": [2, 60]}, {"time_mask_width_ratio_range": [0.05, 0.4]}, {"apply_time_mask": False}]
)
@pytest.mark.parametrize("zero", [True, False])
def test_spec_augment_is_espnets(warp, times, zero):
    conf = SpecAug(
        apply_time_warp=warp, time_warp_window=5, freq_mask_width_range=[0, 30], num_freq_mask=2, replace_with_zero=zero, **times
    )
    speech = batch().speech
    before = speech.feats.clone()
    torch.manual_seed(3)
    theirs, _ = conf(speech.feats.clone(), speech.lengths)
    torch.manual_seed(3)
    ours = encoder.spec_augment(speech, conf)
    torch.testing.assert_close(ours.feats, theirs, rtol=0, atol=0)
    assert torch.equal(speech.feats, before) and not torch.equal(ours.feats, before)


CONFORMER = {
    "conformer_rel_pos_type": "latest",
    "conformer_pos_enc_layer_type": "rel_pos",
    "conformer_self_attn_layer_type": "rel_selfattn",
}
SYNTHESISERS = ({}, {"postnet_layers": 2, "postnet_chans": 8}, {"stop_gradient_from_pitch_predictor": False},
                {"decoder_type": "conformer", **CONFORMER})  # fmt: skip


@pytest.mark.parametrize("extra", SYNTHESISERS)
@pytest.mark.parametrize("training", [True, False])
def test_fastspeech_has_espnets_loss(extra, training):
    model, data = synthesizer(extra={"tts_conf": {**TTS["tts_conf"], **extra}}).train(training), batch()
    assert fastspeech.is_plain(model.tts)
    ours, stats = compared(model, data, lambda: model.tts(**model.inputs(data)))
    for key in ("l1_loss", "duration_loss", "pitch_loss", "energy_loss", "loss"):
        torch.testing.assert_close(float(ours.stats[key]), float(stats[key]), atol=1e-5, rtol=1e-5)


def test_a_fastspeech_of_several_languages_is_not_plain():
    assert not fastspeech.is_plain(synthesizer(extra={"tts_conf": {**TTS["tts_conf"], "langs": 2}}).tts)


def test_fastspeech_of_another_loss_keeps_espnets_forward():
    model, data = synthesizer(extra={"tts_conf": {**TTS["tts_conf"], "use_masking": False, "use_weighted_masking": True}}).eval(), batch()
    assert not fastspeech.is_plain(model.tts)
    torch.testing.assert_close(model.loss(data).value, model.tts(**model.inputs(data))[0])


def test_regulate_repeats_each_state():
    hidden = torch.arange(12.0).view(2, 3, 2)
    made = fastspeech.regulate(hidden, torch.tensor([[2, 0, 1], [0, 1, 0]]), 4)
    by_hand = [[[0, 1], [0, 1], [4, 5], [0, 0]], [[8, 9], [0, 0], [0, 0], [0, 0]]]
    assert made.tolist() == by_hand
    theirs = synthesizer().tts.length_regulator(hidden, torch.tensor([[2, 0, 1], [0, 1, 0]]))
    assert torch.equal(made[:, :3], theirs)
