"""A model that has seen work holds, and computes, what a new one does."""

import torch

from cycle.models.held import Held
from cycle.settings import Search
from tests.models.test_espnet import SPKS, TEXTS, batch, recognizer, synthesizer

SMALL = {"tts_conf": {"adim": 16, "aheads": 2, "elayers": 1, "dlayers": 1, "eunits": 32, "dunits": 32, "dprenet_units": 8,
                      "postnet_layers": 1, "postnet_chans": 8}}  # fmt: skip


def tensors(model):
    return {(layer, name): id(t) for layer in model.modules() for name, t in vars(layer).items() if isinstance(t, torch.Tensor)}


def test_positions_of_half_precision_are_let_go_of():
    model = synthesizer(conf="conf/tts/transformer.yaml", extra=SMALL).eval()
    held, before = Held(model), tensors(model)
    with torch.no_grad():
        exact = model.score(batch())
        with torch.autocast("cpu", torch.bfloat16):
            model.synthesize(TEXTS[:1], SPKS[:1])
        assert not torch.equal(model.score(batch()), exact)  # else there would be no need
        held.restore()
        assert tensors(model) == before
        assert torch.equal(model.score(batch()), exact)


def test_a_batch_is_let_go_of():
    model = recognizer().eval()
    held, before = Held(model), tensors(model)
    model.transcribe(batch().speech, Search("joint", beam=2, ctc_weight=0.3))
    assert tensors(model).keys() > before.keys()  # the attention's weights
    held.restore()
    assert tensors(model) == before
    assert model._joint is not None and model._joint[1].scorers["ctc"].impl is None
