"""Stage 3, `pretrain`: recogniser and, where there is one, aligner and synthesiser on the paired pool; leaves `round_00`."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cycle.data.text import spelling
from cycle.device import by_first
from cycle.device import fabric as make_fabric
from cycle.exchange.evaluate import dev_figure
from cycle.exchange.pools import align, described, lenders, open_pool
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.files import write_json
from cycle.log import log
from cycle.models.align import duration_spread
from cycle.models.frame_ctc import FrameCTC
from cycle.models.graphs import recordable
from cycle.models.pair import build_asr, build_tts, load_frame_model, read_voices, settle
from cycle.models.vocabulary import Vocabulary
from cycle.objectives.base import Models
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.settings import Features, FrameModel
from cycle.train.alone import train_alone
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream, seed_of
from cycle.voices import find_voices

if TYPE_CHECKING:
    from cycle.models.espnet_asr import EspnetRecognizer

MOST_SPREAD = 0.8  # of log-durations; 0.3 to 0.5 is what speech has, 1.0 what chance gives


def train_frame_model(exp: Experiment, folder: Path, conf: FrameModel, stream: Stream, phase: str, seed: int, fabric: Fabric) -> FrameCTC:
    """Trains the aligner or the judge, or opens it where it is finished."""
    vocabulary = Vocabulary.read(exp.vocabulary)
    train_alone(exp, folder, phase, lambda: FrameCTC(vocabulary, exp.config.features.n_mels, conf), {"all": stream}, seed, fabric)
    return load_frame_model(folder, conf, exp.config, vocabulary, fabric.device)


def main(exp: Experiment) -> None:
    """Trains what is not trained yet and renames it into `round_00`."""
    fabric = make_fabric(exp.device, exp.config.precision)
    settle()
    if "tts" in exp.config.models:
        lenders(exp)  # now, not after the pretraining
        paired = _spoken(exp, fabric)
        find_voices(exp, fabric)
    else:
        paired = described(exp, "paired")
    work = exp.root / "pretrain"
    for name in exp.config.models:
        _train_one(exp, work, name, paired, fabric)
    by_first(fabric, lambda: _finish(exp, work, fabric))


def _spoken(exp: Experiment, fabric: Fabric) -> Stream:
    """The paired pool with durations, which a synthesiser learns from, by an aligner that is trained first."""
    paired = open_pool(exp, "paired")
    aligner = train_frame_model(exp, exp.aligner, exp.config.aligner, paired, "aligner", exp.config.seed, fabric)
    spoken, lost = align(paired, aligner, exp.config.rounds.label.batch_frames, fabric.device)
    _check_durations(spoken)
    if lost.any():
        few = ", ".join(paired.subset(np.flatnonzero(lost)[:5]).utt_ids)
        log.warning("%d paired utterances are too short for their tokens and train nothing: %s", lost.sum(), few)
    return spoken


def _finish(exp: Experiment, work: Path, fabric: Fabric) -> None:
    """How good the pair is on dev; then it is round 0."""
    metrics = {"round": 0, "status": "ok", "decode": asdict(exp.config.decode), **dev_figure(exp, work, fabric)}
    write_json(work / "metrics.json", metrics)
    log.info("pretrained: %.4f on dev (%s)", metrics["asr_dev"], spelling(exp.config.corpus.language).metric)
    shutil.rmtree(work / "state", ignore_errors=True)
    os.replace(work, exp.round(0))


def _check_durations(spoken: Stream) -> None:
    """A token takes about the same time wherever it is said; an aligner that has not learnt puts tokens anywhere."""
    assert spoken.durations is not None
    spread = duration_spread(spoken.texts, spoken.durations)
    log.info("aligner: log-durations of a token vary by %.2f", spread)
    if spread > MOST_SPREAD:
        log.warning("the aligner has not learnt the paired pool: durations will be poor; raise aligner.updates")


def _tell_unfit(model: EspnetRecognizer, stream: Stream, conf: Features) -> None:
    """A text with more tokens than the encoder has outputs teaches CTC nothing, and torch says nothing of it."""
    if not model.model.ctc_weight:
        return
    longest = int(stream.frames.max())
    rate = model.outputs(longest) / longest
    texts = [text.split() for text in stream.texts]
    needed = np.array([len(text) + sum(a == b for a, b in pairwise(text)) for text in texts])
    unfit = int((needed > stream.frames * rate).sum())
    if unfit:
        told = "%d of %d paired texts have more tokens than the recogniser has outputs, one in %.0f ms: CTC learns nothing from them; %s"
        remedy = "take an encoder that subsamples less, such as -- asr.conf.encoder_conf.input_layer=conv2d2"
        log.warning(told, unfit, len(texts), 1000 * conf.hop / conf.fs / rate, remedy)


def _train_one(exp: Experiment, work: Path, name: str, stream: Stream, fabric: Fabric) -> None:
    """The recogniser or the synthesiser."""
    if (work / name / "model.pth").exists():
        return
    conf, vocabulary = exp.config, Vocabulary.read(exp.vocabulary)
    torch.manual_seed(seed_of(conf.seed, "init", name) % 2**32)
    model = build_asr(conf, vocabulary) if name == "asr" else build_tts(conf, vocabulary, read_voices(exp))
    model = model.to(fabric.device)
    if name == "asr" and fabric.is_global_zero:
        _tell_unfit(model, stream, conf.features)
    if conf.even_batches:
        model.use_graphs(conf.graphs and recordable(fabric))
    objective, updates, optimizer = (
        (AsrSupervised(), conf.pretrain.asr_updates, conf.pretrain.asr)
        if name == "asr"
        else (TtsSupervised(), conf.pretrain.tts_updates, conf.pretrain.tts)
    )
    mixture = Mixture(
        {"paired": stream}, {"paired": 1.0}, conf.pretrain.batch_frames, seed_of(conf.seed, "pretrain", name), conf.even_batches
    )
    models = Models(asr=model, tts=model)  # type: ignore[arg-type]  # the objective looks at its own only
    trainer = Trainer(work / "state" / name, exp.path, f"pretrain_{name}", models, {name: (model, optimizer)},
                      [Task(f"{name}_supervised", objective, mixture)], updates, conf.seed, conf.run, fabric)  # fmt: skip
    trainer.fit()
    by_first(fabric, lambda: model.save(work / name))
    trainer.clean()
