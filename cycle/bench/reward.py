"""`python -m cycle bench reward EXP`: how much of a training step its reward costs."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cycle.device import fabric, resolve
from cycle.errors import UserError
from cycle.exchange.round_data import exchange
from cycle.experiment import Experiment
from cycle.files import write_json
from cycle.models.pair import load_asr, load_tts, read_voices
from cycle.objectives.base import Models, Origin, begin
from cycle.objectives.judging import TextJudge
from cycle.rounds import make_tasks
from cycle.train.loop import Trainer
from cycle.use import open_finished

WARM = 5  # steps before the clock runs: the first ones make what is kept


class Stopwatch:
    """A judge that keeps the time."""

    def __init__(self, judge: TextJudge):
        self.judge, self.seconds, self.calls = judge, 0.0, 0

    def begin(self, origin: Origin) -> None:
        self.judge.begin(origin)

    def __call__(self, *given: Any) -> Any:
        start = time.perf_counter()
        value = self.judge(*given)
        self.seconds, self.calls = self.seconds + time.perf_counter() - start, self.calls + 1
        return value


def main(options: argparse.Namespace) -> int:
    """Prints seconds a step, with and without the reward, and its share; writes them as JSON where asked to."""
    if options.path is None:
        raise UserError("no experiment is named", "bench reward", "give one whose recipe has a reward: bench reward EXP")
    result = measure(open_finished(options.path, resolve(options.device)), options.steps)
    shown = f"{1000 * result['step_seconds']:.1f} ms a step, {1000 * result['reward_seconds']:.2f} ms of it the reward"
    print(f"{options.path}: {shown}: {100 * result['share']:.2f} % ({options.steps} steps, {torch.get_num_threads()} threads)")
    if options.json:
        write_json(options.json, result)
    return 0


def measure(exp: Experiment, steps: int) -> dict[str, Any]:
    """Trains the first round of the recipe for some steps, from pretraining, and leaves nothing behind.

    Args:
        steps: that are timed.

    Raises:
        UserError: no pretrained models, or a recipe without a reward of transcripts.
    """
    if not exp.round(0).is_dir():
        raise UserError("is not pretrained", exp.path, "run stages 1 to 3 first")
    runner = fabric(exp.device, exp.config.precision)
    asr = load_asr(exp.round(0), exp.config, runner.device)
    tts: Any = load_tts(exp.round(0), exp.config, read_voices(exp), runner.device) if "tts" in exp.config.models else None
    parts = {"asr": (asr, exp.config.rounds.asr), **({"tts": (tts, exp.config.rounds.tts)} if tts else {})}
    with TemporaryDirectory() as folder:
        tasks = make_tasks(exp, 1, exchange(exp, 1, exp.round(0), Path(folder), runner))
        judged = [task for task in tasks if isinstance(getattr(task.objective, "judge", None), TextJudge)]
        if not judged:
            raise UserError("its recipe has no reward of transcripts", exp.path, "name an experiment of caption_scst, scst, mwer or dpo")
        clocks = [Stopwatch(task.objective.judge) for task in judged]  # type: ignore[attr-defined]
        for task, clock in zip(judged, clocks, strict=True):
            task.objective.judge = clock  # type: ignore[attr-defined]
        begin([task.objective for task in tasks], Origin(exp, exp.round(0), runner.device))
        run = replace(exp.config.run, checkpoint_seconds=1e9)
        taken = []
        for count in (WARM, steps):
            for clock in clocks:
                clock.seconds, clock.calls = 0.0, 0
            start = time.perf_counter()
            Trainer(Path(folder), Path(folder), "bench", Models(asr, tts), parts, tasks, count, exp.config.seed, run, runner).fit()
            taken.append(time.perf_counter() - start)
    reward = sum(clock.seconds for clock in clocks)
    return {"steps": steps, "step_seconds": taken[-1] / steps, "reward_seconds": reward / steps, "share": reward / taken[-1],
            "calls": sum(clock.calls for clock in clocks), "device": exp.device, "threads": torch.get_num_threads()}  # fmt: skip
