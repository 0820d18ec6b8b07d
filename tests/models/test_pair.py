"""Models are built once before anything runs, so that a mistake in their YAML is told at once."""

import pytest
import torch
import yaml

from cycle.config import ROOT, load
from cycle.errors import UserError
from cycle.log import log
from cycle.models.pair import try_models

SMOKE = ["preset=smoke"]


def config(*words):
    return load("mini", "cycle", [*SMOKE, *words])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("asr.conf.encoder=foo", r"conf/asr/conformer_tiny\.yaml: ESPnet cannot build this model \(ValueError"),
        ("asr.conf.encoder_conf.foo=3", r"conformer_tiny\.yaml: ESPnet cannot build this model \(TypeError.*'foo'"),
        ("asr.conf.encoder_conf.output_size=-3", "ESPnet cannot build this model"),
        ("asr.conf.decoder=transducer", "ESPnet cannot build this model"),
        ("asr.conf.nonsense=1", r"conformer_tiny\.yaml: unknown key 'nonsense'"),
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


def test_a_model_that_cannot_learn_is_told():
    with pytest.raises(UserError, match=r"conformer_tiny\.yaml: this model cannot be trained here \("):
        try_models(config("asr.conf.encoder_conf.input_layer=embed"))


def test_what_has_no_effect_is_said(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    try_models(config("asr.conf={optim: sgd, max_epoch: 7, init_param: [x.pth], ctc_conf: {dropout_rate: 0.1}, frontend: s3prl}"))
    (line,) = caplog.messages
    assert "conformer_tiny.yaml: frontend, init_param, max_epoch, optim: of ESPnet's own training, without effect here" in line


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
