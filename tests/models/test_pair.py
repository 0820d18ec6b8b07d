"""Models are built once before anything runs, so that a mistake in their YAML is told at once."""

import gc
import os
import shutil

import numpy as np
import pytest
import torch
import yaml

from cycle import pretrain
from cycle.config import ROOT, load
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.log import log
from cycle.models.pair import build_asr, close_models, lend, load_asr, open_aligner, open_asr, open_tts, settle, try_models
from cycle.models.vocabulary import Vocabulary
from cycle.train.streams import Stream

SMOKE = ["preset=smoke"]


def config(*words):
    return load("mini", "cycle", [*SMOKE, *words])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("asr.conf.encoder=foo", r"conf/asr/conformer_tiny\.yaml with the conf laid over it: ESPnet cannot build this model \(ValueError"),
        (
            "asr.conf.encoder_conf.foo=3",
            r"conformer_tiny\.yaml with the conf laid over it: ESPnet cannot build this model \(TypeError.*'foo'",
        ),
        ("asr.conf.encoder_conf.output_size=-3", "ESPnet cannot build this model"),
        ("asr.conf.decoder=transducer", "ESPnet cannot build this model"),
        ("asr.conf.nonsense=1", r"conformer_tiny\.yaml with the conf laid over it: unknown key 'nonsense'"),
        ("asr.config=conf/asr/none.yaml", r"conf/asr/none\.yaml: no such model configuration"),
        ("asr.config=README.md", r"README\.md"),
        ("asr.conf={model_conf: {ctc_weight: 0.0}}", "ctc_weight"),
        ("tts.config=conf/asr/conformer_tiny.yaml", r"conf/asr/conformer_tiny\.yaml: unknown key"),
        ("tts.conf.tts=vits", "GAN"),
        ("tts.conf.tts_conf.adim=x", "ESPnet cannot build this model"),
        ("asr.init=nowhere/model.pth", r"nowhere/model\.pth: no checkpoint"),
        ("asr.init=conf/asr", "conf/asr: no checkpoint"),
    ],
)
def test_mistakes_are_told_with_the_file(word, said):
    with pytest.raises(UserError, match=said):
        try_models(config(word))


@pytest.mark.parametrize(
    "word",
    [
        "seed=2",
        "asr.config=conf/asr/e_branchformer.yaml",
        "tts.config=conf/tts/tacotron2.yaml",
        "models=[asr]",
    ],
)
def test_what_can_be_built_passes(word):
    try_models(config(word))


@pytest.mark.parametrize("encoder", ["rnn", "vgg_rnn", "transformer"])
def test_other_encoders_learn(tmp_path, encoder):
    conf = {k: v for k, v in yaml.safe_load((ROOT / "conf/asr/conformer_tiny.yaml").read_text()).items() if k != "encoder_conf"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**conf, "encoder": encoder}))
    try_models(config(f"asr.config={tmp_path}/mine.yaml"))


@pytest.mark.parametrize(("layer", "each"), [("conv2d", 4), ("conv2d2", 2)])
def test_texts_that_an_encoder_is_too_coarse_for_are_counted(caplog, monkeypatch, layer, each):
    """Of 80 frames it makes 19 or 37 outputs: more than 15 letters and less than 30; doubled ones need a blank between them."""
    monkeypatch.setattr(log, "propagate", True)
    conf = config(f"asr.conf.encoder_conf.input_layer={layer}")
    model = build_asr(conf, Vocabulary.of(["a b"]))
    assert abs(model.outputs(80) - 80 / each) <= 3
    texts = ["a b " * 7 + "a", "a b " * 15, "a a " * 7 + "a", "a b " * 30]
    stream = Stream("paired", list("wxyz"), ["s"] * 4, [text.strip() for text in texts], np.full(4, 80, np.int32))
    pretrain._tell_unfit(model, stream, conf.features)
    unfit = 3 if layer == "conv2d" else 1
    assert {line.partition(" have")[0] for line in caplog.messages if "CTC" in line} == {f"{unfit} of 4 paired texts"}


def test_a_model_that_cannot_learn_is_told():
    with pytest.raises(UserError, match=r"conformer_tiny\.yaml with the conf laid over it: this model cannot be trained here \("):
        try_models(config("asr.conf.encoder_conf.input_layer=embed"))


def test_what_has_no_effect_is_said(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    try_models(config("asr.conf={optim: sgd, max_epoch: 7, init_param: [x.pth], ctc_conf: {dropout_rate: 0.1}, frontend: s3prl}"))
    (line,) = {line for line in caplog.messages if "without effect" in line}  # ESPnet may speak, too
    assert "yaml with the conf laid over it: frontend, init_param, max_epoch, optim: of ESPnet's own training, without effect here" in line


def test_checkpoints_are_opened_too(finished, tmp_path):
    asr, tts = finished / "final/asr", finished / "final/tts"
    try_models(config(f"asr.init={asr}/model.pth", f"tts.init={tts}/model.pth"))  # its own tokens, its own voices
    with pytest.raises(UserError, match=r"tts/config\.yaml: unknown key"):
        try_models(config(f"asr.init={tts}/model.pth"))
    (tmp_path / "config.yaml").write_text((asr / "config.yaml").read_text())
    (tmp_path / "model.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model\.pth: is no checkpoint"):
        try_models(config(f"asr.init={tmp_path}/model.pth"))
    wider = yaml.safe_load((asr / "config.yaml").read_text())
    wider["encoder_conf"]["linear_units"] += 8
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(wider))
    torch.save(torch.load(asr / "model.pth", weights_only=True), tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"model\.pth: is no checkpoint of this model"):
        try_models(config(f"asr.init={tmp_path}/model.pth"))


def test_listeners_share_a_model_as_long_as_its_file_stays(finished, tmp_path):
    path, cpu = tmp_path / "mini", torch.device("cpu")
    shutil.copytree(finished, path, symlinks=True)
    exp = Experiment(path, config(), "mini", "cycle")
    models = [make(exp, exp.round(0), cpu) for make in (open_asr, open_tts)] + [open_aligner(exp, cpu)]
    assert not any(model.training for model in models)
    os.rename(exp.round(0), path / "renamed")
    assert open_asr(exp, path / "renamed", cpu) is models[0] and open_tts(exp, path / "renamed", cpu) is models[1]
    assert open_aligner(exp, cpu) is models[2]
    close_models()
    assert open_aligner(exp, cpu) is not models[2]
    mine = load_asr(path / "renamed", exp.config, cpu)  # to be trained
    assert mine is not models[0] and all(p.requires_grad for p in mine.parameters())

    other = open_asr(exp, exp.round(1), cpu)
    assert other is not models[0] and open_asr(exp, exp.round(1), cpu) is other
    file = exp.round(1) / "asr/model.pth"
    state = {name: value + 1 for name, value in torch.load(file, weights_only=True).items()}
    torch.save(state, file)
    again = open_asr(exp, exp.round(1), cpu)
    assert again is not other and torch.equal(again.model.ctc.ctc_lo.bias, other.model.ctc.ctc_lo.bias + 1)
    assert open_asr(Experiment(path, config("augment.gain=0.5"), "mini", "cycle"), exp.round(1), cpu) is not again
    lend(exp, exp.round(1), cpu, {"asr": mine})
    assert open_asr(exp, exp.round(1), cpu) is mine
    close_models()
    assert open_asr(exp, exp.round(1), cpu) is not mine
    file.unlink()
    with pytest.raises(UserError, match=r"asr/model\.pth: no such checkpoint"):
        open_asr(exp, exp.round(1), cpu)


def test_what_is_imported_stays():
    """The garbage collector walks through what comes later."""
    try:
        settle()
        assert gc.get_freeze_count() > 100_000 and len(gc.get_objects(2)) < 10_000
    finally:
        gc.unfreeze()
