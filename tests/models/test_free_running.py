"""Batches of Tacotron 2 and Transformer-TTS say what ESPnet's own inference says, sentence by sentence."""

import numpy as np
import pytest
import torch

from cycle.config import ROOT
from cycle.models.espnet_tts import EspnetSynthesizer
from cycle.models.free_running import LONGEST, speak
from cycle.models.tacotron import still
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.yaml_file import read_yaml

SMALL = {
    "tacotron2": {"embed_dim": 16, "eunits": 16, "econv_chans": 16, "econv_layers": 1, "adim": 16, "aconv_chans": 4, "aconv_filts": 5,
                  "dunits": 16, "prenet_units": 8, "postnet_chans": 8, "postnet_layers": 2},
    "transformer": {"embed_dim": 0, "eprenet_conv_layers": 0, "adim": 16, "aheads": 2, "elayers": 1, "eunits": 16, "dlayers": 2,
                    "dunits": 16, "dprenet_units": 8, "postnet_chans": 8, "postnet_layers": 2},
}  # fmt: skip
SPREAD = {"tacotron2": 6.0, "transformer": 0.7}  # of the stop token's logits: sentences end here and there


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_batches_agree_with_espnet(name, reduction):
    torch.manual_seed(1)
    conf = read_yaml(ROOT / f"conf/tts/{name}.yaml")
    conf["tts_conf"] = {**conf.get("tts_conf", {}), **SMALL[name], "reduction_factor": reduction}
    model = EspnetSynthesizer(
        Vocabulary(["<blank>", "<unk>", *"abcdefgh", "<sos/eos>"]), Voices(("s", "t"), (5.0, 1.0), (0.0, 1.0), np.eye(2)), 80, conf
    )
    tts = model.tts
    prob = tts.dec.prob_out if name == "tacotron2" else tts.prob_out
    with torch.no_grad():  # an untrained model never stops by itself, or at once: this one stops here and there
        prob.weight.mul_(SPREAD[name])
        if prob.bias is not None:
            prob.bias.fill_(-1.0)
    ids = [torch.tensor(row) for row in ([2, 3, 4], [5], [6, 7, 8, 9, 2, 3], [9, 9])]
    spks = [{"spembs": torch.eye(2)[n % 2]} for n in range(4)]
    with still(tts), torch.no_grad():
        expected = [tts.inference(tokens, **spk)["feat_gen"] for tokens, spk in zip(ids, spks, strict=True)]
        said = speak(tts, ids, spks)
    lengths = [len(row) for row in expected]
    assert [len(row) for row in said] == lengths
    assert len(set(lengths)) > 1 and max(lengths) <= LONGEST * 7
    for ours, theirs in zip(said, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
