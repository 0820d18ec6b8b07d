"""Training of a model that learns by itself, beside the pair: the aligner, the judge, the encoder of voices."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cycle.data.batch import Batch, Loss
from cycle.device import by_first
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.models.checkpoint import save
from cycle.settings import Optimizer
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream, seed_of


class Learner(Protocol):
    """A module with a loss of its own; `conf` says how long and how it learns."""

    conf: Any

    def loss(self, batch: Batch) -> Loss: ...


class _Own:
    """The loss of a model that trains by itself."""

    trains = frozenset({"model"})

    def __call__(self, batch: Batch, models: Learner, step: int) -> Loss:
        return models.loss(batch)


def train_alone(
    exp: Experiment, folder: Path, phase: str, make: Any, streams: dict[str, Stream], seed: int, fabric: Fabric, split: bool = True
) -> None:
    """Trains the model that `make()` builds, until `folder/model.pth` is there; each stream has its size's share of the batches.

    Args:
        folder: where the checkpoint goes, and where an interrupted training lies.
        phase: its name in the metrics.
        split: see `Trainer`.
    """
    state = folder / "state"
    if (folder / "model.pth").exists():
        by_first(fabric, lambda: shutil.rmtree(state, ignore_errors=True))  # of a call that was killed at its very end
        return
    torch.manual_seed(seed_of(seed, phase) % 2**32)
    model: nn.Module = make().to(fabric.device)
    conf: Any = model.conf
    mixture = Mixture(streams, {name: float(len(stream)) for name, stream in streams.items()}, conf.batch_frames, seed)
    parts = {"model": (model, Optimizer(lr=conf.lr, ema=0.98))}
    task = Task(phase, _Own(), mixture)  # type: ignore[arg-type]
    trainer = Trainer(state, folder, phase, model, parts, [task], conf.updates, seed, exp.config.run, fabric, split)
    trainer.fit()
    by_first(fabric, lambda: save(folder, model, vars(conf)))
    trainer.clean()
