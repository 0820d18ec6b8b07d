"""The training loop: several objectives, two models, one step; resumable to the bit on a CPU.

Nothing random outlives a step: every step seeds the generators from the run's seed and its own number, and batch n of a mixture depends
on n alone. What has to be kept is therefore weights, optimizers, averaged weights and the step; two files take turns, so that one is
always whole.

On several ranks (torchrun), each works on its share of every batch, and the gradients are summed before the step: the same training as
that of one process with the whole batch, but for dropout, BatchNorm and the aligner's label prior, which is the first rank's. A loss that
compares the utterances of a batch with each other cannot be shared out so: each rank then works on all of it (`split=False`).
DistributedDataParallel would tie this to one `forward`; objectives call what they like.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cycle.data.batch import Batch, Loss
from cycle.device import send
from cycle.errors import UserError
from cycle.fabric import Fabric
from cycle.files import atomic_write
from cycle.log import Metrics, log, progress
from cycle.models.noise import frozen
from cycle.objectives.base import Models, Objective
from cycle.settings import Optimizer, Run
from cycle.train.part import Part
from cycle.train.streams import Mixture, seed_of

MAX_BAD_STEPS = 20  # steps without a finite gradient, in a row, before training counts as diverged


class Diverged(UserError):
    """The loss is not finite any more."""


@dataclass
class Task:
    """An objective at work: where its batches come from, how much and when it counts."""

    name: str
    objective: Objective
    mixture: Mixture
    weight: float = 1.0
    every: int = 1
    start: int = 0

    def active(self, step: int) -> bool:
        return step >= self.start and step % self.every == 0

    def turn(self, step: int) -> int:
        """How many batches it has used before `step`."""
        first = -(-self.start // self.every) * self.every
        return max(0, -(-(step - first) // self.every))


def on_host(stats: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Numbers that may lie on the device; it is waited for once, however many they are."""
    names = [name for name, value in stats.items() if isinstance(value, Tensor) and value.device.type != "cpu"]
    fetched = torch.stack([stats[name].detach().float().reshape(()) for name in names]).tolist() if names else []  # type: ignore[union-attr]
    there = dict(zip(names, fetched, strict=True))
    return {name: float(there.get(name, value)) for name, value in stats.items()}


def _seed(device: torch.device, *parts: object) -> None:
    seed = seed_of(*parts) % 2**32
    if device.type == "cuda":  # torch.manual_seed asks after every other kind of device, and notes who called
        torch.default_generator.manual_seed(seed)
        torch.cuda.manual_seed(seed)
    else:
        torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@dataclass
class Trainer:
    """Trains modules on tasks until `updates`, from wherever an earlier call was killed.

    Args:
        folder: where checkpoints lie while training; gone afterwards.
        metrics: folder of `metrics.jsonl`.
        phase: name of this training in the metrics.
        models: what objectives see.
        parts: modules with their optimizer's settings; those no task trains are left alone.
        split: ranks share out each batch; otherwise all do the same work.
    """

    folder: Path
    metrics: Path
    phase: str
    models: Models | Any
    parts: Mapping[str, tuple[nn.Module, Optimizer]]
    tasks: list[Task]
    updates: int
    seed: int
    run: Run
    fabric: Fabric
    split: bool = True
    bad_steps: int | Tensor = field(default=0, init=False)  # in a row, up to now
    streak: int | Tensor = field(default=0, init=False)  # the longest row of them

    def fit(self) -> None:
        """Leaves the averaged weights in the modules.

        Raises:
            Diverged: no finite gradient for many steps.
        """
        trained = {n for t in self.tasks for n in t.objective.trains}
        parts = [Part(name, module, conf) for name, (module, conf) in self.parts.items() if name in trained]
        first, shown = self._resume(parts)
        if first:
            log.info("%s: goes on at update %d of %d", self.phase, first, self.updates)
        metrics = Metrics(self.metrics, self.phase, first) if self.fabric.is_global_zero else None
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        batches = {t.name: t.mixture.batches(t.turn(first), self.fabric.device, rank, ranks, self.split) for t in self.tasks}
        last, turn = time.monotonic(), 0
        # The last values of each task, which need not be active when a line is written.
        stats: dict[str, float | Tensor] = {**shown} if metrics else {}
        try:
            for step in progress(range(first, self.updates), self.updates, self.phase, first):
                stats |= self._step(step, parts, batches)
                if (step + 1) % self.run.log_every == 0:
                    values = self._whole(on_host(stats))
                    if metrics:
                        metrics.write(step + 1, values)
                    stats = {}
                    self._check(step + 1)
                if time.monotonic() - last >= self.run.checkpoint_seconds:
                    self._save(parts, step + 1, turn, stats)
                    last, turn = time.monotonic(), 1 - turn
            self._check(self.updates)
        finally:
            if metrics:
                metrics.close()
        for part in parts:
            part.finish(self.fabric)

    def _step(self, step: int, parts: list[Part], batches: dict[str, Iterator[Batch]]) -> dict[str, float | Tensor]:
        rank = self.fabric.global_rank if self.split else 0
        _seed(self.fabric.device, self.seed, self.phase, step, *([rank] if rank else []))
        stats: dict[str, float | Tensor] = {}
        for part in parts:
            if not part.module.training:  # looking is cheaper than walking through all layers
                part.module.train()
        for task in self.tasks:
            if not task.active(step):
                continue
            others = [param for p in parts if p.name not in task.objective.trains for param in p.params]
            with frozen(others), self.fabric.autocast():
                batch = next(batches[task.name])
                loss: Any = task.objective(batch, self.models, step)  # of anybody's class
            if not isinstance(loss, Loss):
                what = f"{type(task.objective).__name__} returned {type(loss).__name__}"
                raise UserError(what, f"rounds.objectives.{task.name}", "return a Loss of cycle.data.batch")
            value = self._shared(loss, batch.share)
            if loss.weight:
                self.fabric.backward(task.weight * value)
            shown = {k: v * batch.share for k, v in loss.stats.items()} | {"loss": value.detach()}
            stats |= {f"{task.name}/{k}": v for k, v in shown.items()}
            del loss, value  # and with them the autograd graph: see cycle/models/graphs.py
        moved = [p for p in parts if any(t.active(step) and p.name in t.objective.trains for t in self.tasks)]
        moved = [p for p in moved if self.fabric.world_size > 1 or p.has_gradient()]
        norms = {f"norm/{p.name}": p.step(step, self.updates, self.fabric) for p in moved}
        bad = torch.stack([~torch.isfinite(n) for n in norms.values()]).any() if norms else torch.tensor(False)
        if norms:
            self.bad_steps = torch.where(bad, self.bad_steps + 1, 0)
            self.streak = torch.maximum(self.bad_steps, torch.as_tensor(self.streak, device=bad.device))
        return stats | {k: n / self.fabric.world_size for k, n in norms.items()}

    def _shared(self, loss: Loss, share: float) -> Tensor:
        """What a loss adds to that of the whole batch, of which this rank has a share: means are taken over what all ranks average."""
        if self.fabric.world_size == 1:
            return loss.value
        means = loss.value[None] if loss.means is None else loss.means
        counts = [loss.weight] if loss.counts is None else loss.counts
        counts = (counts if isinstance(counts, Tensor) else send(counts, means.device)).float()
        mine = counts if share else torch.zeros_like(counts)  # see `Mixture.batch`
        whole: Any = self.fabric.all_reduce(mine.clone(), reduce_op="sum")
        return (means * mine / whole.clamp(min=1)).sum()

    def _whole(self, values: dict[str, float]) -> dict[str, float]:
        """The sum over all ranks, each of which has its share of a value."""
        if self.fabric.world_size == 1:
            return values
        shares: list[dict[str, float]] = [{}] * self.fabric.world_size
        torch.distributed.all_gather_object(shares, values)
        return {k: sum(share.get(k, 0.0) for share in shares) for k in values}

    def _check(self, step: int) -> None:
        """Looks at the bad steps; only now and then, because the host has to wait for it."""
        bad = int(self.streak)
        if bad >= MAX_BAD_STEPS:
            what = f"no finite gradient in {bad} updates up to {step} of {self.phase}"
            raise Diverged(what, None, "lower its learning rate and begin its stage again with --redo")

    def _save(self, parts: list[Part], step: int, turn: int, stats: Mapping[str, float | Tensor]) -> None:
        if not self.fabric.is_global_zero:
            return
        with atomic_write(self.folder / f"update_{turn}.pt", "wb") as handle:
            memories = {t.name: t.objective.state() for t in self.tasks if hasattr(t.objective, "state")}
            whole = {"step": step, "parts": {p.name: p.state() for p in parts}, "objectives": memories, "stats": on_host(stats)}
            torch.save(whole, handle)

    def _resume(self, parts: list[Part]) -> tuple[int, dict[str, float]]:
        """Loads the newer of the two checkpoints that can be read; returns its step, and the values that no line holds yet."""
        found: dict[str, Any] | None = None
        for path in self.folder.glob("update_[01].pt"):
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # a torn file: the other one is whole
                log.warning("%s cannot be read (%s); using the other checkpoint", path, error)
                continue
            if found is None or state["step"] > found["step"]:
                found = state
        if found is None:
            return 0, {}
        for part in parts:
            part.load(found["parts"][part.name])
        for task in self.tasks:
            if task.name in found["objectives"]:
                task.objective.load(found["objectives"][task.name])  # type: ignore[attr-defined]
        return int(found["step"]), found.get("stats", {})

    def clean(self) -> None:
        """Removes the checkpoints, once what they led to is safe."""
        shutil.rmtree(self.folder, ignore_errors=True)
