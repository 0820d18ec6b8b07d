"""Stage 3, `pretrain`: recogniser and, where there is one, aligner and synthesiser on the paired pool; leaves `round_00`."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric

from cycle.config import FrameModel, Optimizer
from cycle.data.batch import Batch, Loss
from cycle.data.text import spelling
from cycle.device import by_first
from cycle.device import fabric as make_fabric
from cycle.eval.errors import error_rate
from cycle.exchange.evaluate import dev_figure
from cycle.exchange.pools import align, described, open_pool
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.files import write_json
from cycle.models.checkpoint import save
from cycle.models.frame_ctc import FrameCTC
from cycle.models.pair import build_asr, build_tts, load_frame_model, read_voices
from cycle.models.vocabulary import Vocabulary
from cycle.objectives.base import Models
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream, seed_of

log = logging.getLogger("cycle")
MOST_ALIGNER_ERROR = 0.5  # token error on its training set
CHECK_FRAMES = 20000  # padded frames a batch


class _Alone:
    """The loss of a model that trains by itself."""

    trains = frozenset({"model"})

    def __call__(self, batch: Batch, models: FrameCTC, step: int) -> Loss:
        return models.loss(batch)


def train_frame_model(exp: Experiment, folder: Path, conf: FrameModel, stream: Stream, phase: str, seed: int, fabric: Fabric) -> FrameCTC:
    """Trains the aligner or the judge, or opens it where it is finished."""
    vocabulary = Vocabulary.read(exp.tokens / "tokens.txt")
    if not (folder / "model.pth").exists():
        torch.manual_seed(seed_of(seed, phase) % 2**32)
        model = FrameCTC(vocabulary, exp.config.features.n_mels, conf).to(fabric.device)
        task = Task("ctc", _Alone(), Mixture({"all": stream}, {"all": 1.0}, conf.batch_frames, seed))  # type: ignore[arg-type]
        parts = {"model": (model, Optimizer(lr=conf.lr, ema=0.98))}
        trainer = Trainer(folder / "state", folder, phase, model, parts, [task], conf.updates, seed, exp.config.run, fabric)  # fmt: skip
        trainer.fit()
        by_first(fabric, lambda: save(folder, model, {"vocabulary": len(vocabulary), **vars(conf)}))
        trainer.clean()
    return load_frame_model(folder, conf, exp.config, vocabulary, fabric.device)


def main(exp: Experiment) -> None:
    """Trains what is not trained yet and renames it into `round_00`."""
    fabric = make_fabric(exp.device, exp.config.precision)
    paired = _spoken(exp, fabric) if "tts" in exp.config.models else described(exp, "paired")
    work = exp.root / "pretrain"
    for name in exp.config.models:
        _train_one(exp, work, name, paired, fabric)
    by_first(fabric, lambda: _finish(exp, work, fabric))


def _spoken(exp: Experiment, fabric: Fabric) -> Stream:
    """The paired pool with durations, which a synthesiser learns from, by an aligner that is trained first."""
    paired = open_pool(exp, "paired")
    aligner = train_frame_model(exp, exp.aligner, exp.config.aligner, paired, "aligner", exp.config.seed, fabric)
    _check_aligner(aligner, paired, fabric)
    spoken, lost = align(paired, aligner, exp.config.rounds.label.batch_frames, fabric.device)
    if lost.any():
        few = ", ".join(paired.subset(np.flatnonzero(lost)[:5]).utt_ids)
        log.warning("%d paired utterances are too short for their tokens and train nothing: %s", lost.sum(), few)
    return spoken


def _finish(exp: Experiment, work: Path, fabric: Fabric) -> None:
    """How good the pair is on dev; then it is round 0."""
    metrics = {"round": 0, "status": "ok", **dev_figure(exp, work, fabric)}
    write_json(work / "metrics.json", metrics)
    log.info("pretrained: %.4f on dev (%s)", metrics["asr_dev"], spelling(exp.config.corpus.language).metric)
    shutil.rmtree(work / "state", ignore_errors=True)
    os.replace(work, exp.round(0))


def _check_aligner(aligner: FrameCTC, paired: Stream, fabric: Fabric) -> None:
    """An aligner that has not learnt its own training set puts tokens anywhere, and the synthesiser with them."""

    def listen(group: list[int], batch: Batch) -> list[list[str]]:
        assert batch.speech is not None
        return [hyps[0].text.split() for hyps in aligner.transcribe(batch.speech)]

    heard = sweep(paired, CHECK_FRAMES, fabric.device, "checking the aligner", listen)
    error = error_rate([text.split() for text in paired.texts], heard)
    log.info("aligner: %.1f %% token error on the paired pool it was trained on", 100 * error)
    if error > MOST_ALIGNER_ERROR:
        log.warning("the aligner has not learnt the paired pool: durations will be poor; raise aligner.updates")


def _train_one(exp: Experiment, work: Path, name: str, stream: Stream, fabric: Fabric) -> None:
    """The recogniser or the synthesiser."""
    if (work / name / "model.pth").exists():
        return
    conf, vocabulary = exp.config, Vocabulary.read(exp.tokens / "tokens.txt")
    torch.manual_seed(seed_of(conf.seed, "init", name) % 2**32)
    model = build_asr(conf, vocabulary) if name == "asr" else build_tts(conf, vocabulary, read_voices(exp.tokens))
    model = model.to(fabric.device)
    objective, updates, optimizer = (
        (AsrSupervised(), conf.pretrain.asr_updates, conf.pretrain.asr)
        if name == "asr"
        else (TtsSupervised(), conf.pretrain.tts_updates, conf.pretrain.tts)
    )
    mixture = Mixture({"paired": stream}, {"paired": 1.0}, conf.pretrain.batch_frames, seed_of(conf.seed, "pretrain", name))
    models = Models(asr=model, tts=model)  # type: ignore[arg-type]  # the objective looks at its own only
    trainer = Trainer(work / "state" / name, exp.path, f"pretrain_{name}", models, {name: (model, optimizer)},
                      [Task(f"{name}_supervised", objective, mixture)], updates, conf.seed, conf.run, fabric)  # fmt: skip
    trainer.fit()
    by_first(fabric, lambda: model.save(work / name))
    trainer.clean()
