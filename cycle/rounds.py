"""Stage 4, `rounds`: exchange, select, train, watch; once per round, each round a function of the one it starts from."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from cycle.data.text import spelling
from cycle.device import by_first
from cycle.device import fabric as make_fabric
from cycle.errors import UserError
from cycle.exchange.cluster import open_cluster
from cycle.exchange.evaluate import dev_figure
from cycle.exchange.round_data import RoundData, exchange
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.files import identity, read_json, write_json
from cycle.log import log
from cycle.models.checkpoint import load_weights
from cycle.models.graphs import recordable
from cycle.models.held import Held
from cycle.models.pair import close_models, lend, load_asr, load_tts, read_voices, settle
from cycle.models.synthesizer import Synthesizer
from cycle.objectives.base import Models, Origin, begin
from cycle.objectives.recipe import objectives
from cycle.settings import Optimizer
from cycle.train.loop import Diverged, Task, Trainer
from cycle.train.streams import Mixture, seed_of

FLOOR = 0.02  # dev error may always rise by this much: a few errors among few sentences are no collapse


def main(exp: Experiment) -> None:
    """Runs the rounds that are not there yet; leaves `round_NN` each, `rounds.json`, and `final` pointing at the best on dev."""
    fabric = make_fabric(exp.device, exp.config.precision)
    settle()
    history = [_pretrained(exp, fabric), *(read_json(exp.round(n) / "metrics.json") for n in exp.rounds_done() if n > 0)]
    models = RoundModels(exp, fabric)
    while len(history) <= exp.config.rounds.count and not _stopped(exp, history):
        history.append(run_round(exp, history, fabric, models))
        number, status = history[-1]["round"], history[-1]["status"]
        if status != "ok":
            log.warning("round %d %s; the best round so far is %d", number, status, best_round(history, _rises(exp)))
    close_models()  # what comes behind wants the room
    by_first(fabric, lambda: _conclude(exp, history, _stopped(exp, history)))


def _stopped(exp: Experiment, history: list[dict[str, Any]]) -> str | None:
    """Why no further round is to come, whichever call made the last one; None where one may."""
    last = history[-1]
    return f"round {last['round']} {last['status']}" if last["status"] != "ok" and exp.config.rounds.on_collapse == "stop" else None


def _pretrained(exp: Experiment, fabric: Fabric) -> dict[str, Any]:
    """Round 0's metrics. Rounds are compared by one search on dev: where pretraining knew another, round 0 is decoded again."""
    metrics, again = read_json(exp.round(0) / "metrics.json"), exp.work(0) / "metrics.json"

    def measure() -> None:
        if not again.exists():
            write_json(again, {**metrics, **dev_figure(exp, exp.round(0), fabric)})

    if metrics.pop("decode", None) == asdict(exp.config.decode):
        return cast("dict[str, Any]", metrics)
    by_first(fabric, measure)
    return cast("dict[str, Any]", read_json(again))


def _conclude(exp: Experiment, history: list[dict[str, Any]], stopped: str | None) -> None:
    """Names the best round on dev."""
    shutil.rmtree(exp.path / "work", ignore_errors=True)
    best = best_round(history, _rises(exp))
    point(exp.path / "final", exp.round(best))
    write_json(exp.path / "rounds.json", {"best": best, "stopped": stopped, "rounds": history})
    log.info("best round on dev: %d of %d", best, len(history) - 1)


def _rises(exp: Experiment) -> bool:
    return spelling(exp.config.corpus.language).higher_is_better


def best_round(history: list[dict[str, Any]], higher_is_better: bool = False) -> int:
    """The best round on dev; the later of two equal ones."""
    healthy = [m for m in history if m["status"] == "ok"]
    sign = -1 if higher_is_better else 1
    return int(min(healthy, key=lambda m: (sign * m["asr_dev"], -m["round"]))["round"])


def starting_round(history: list[dict[str, Any]], higher_is_better: bool = False) -> int:
    """Where the next round starts: the last one, or, after a collapse, the best."""
    return int(history[-1]["round"]) if history[-1]["status"] == "ok" else best_round(history, higher_is_better)


def scale(history: list[dict[str, Any]]) -> float:
    """Learning rates are halved for each round that collapsed."""
    return float(0.5 ** sum(m["status"] != "ok" for m in history))


def point(link: Path, target: Path) -> None:
    """A relative symbolic link that replaces an older one in one step."""
    aside = link.with_name(f".{link.name}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(os.path.relpath(target, link.parent))
    os.replace(aside, link)


class RoundModels:
    """The one pair of all rounds: it listens and speaks, then it is trained, then it is looked at.

    Recordings of training steps (CUDA graphs) belong to the memory of its weights, which is filled anew where a round starts elsewhere.
    """

    def __init__(self, exp: Experiment, fabric: Fabric):
        self.exp, self.fabric = exp, fabric
        self._pair: Models | None = None
        self._held: list[Held] = []
        self._files: list[object] = []  # identities of those whose weights it has

    def fill(self, start: Path) -> None:
        """Gives the pair the weights of a finished round, and lends it."""
        found = self._found(start)
        if self._pair is None:
            self._pair = self._load(start)
            self._held = [Held(model) for model in self._each().values()]
        elif found != self._files or None in found:
            for name, model in self._each().items():
                load_weights(model.model, start / name / "model.pth")
        self.lend(start)

    def lend(self, folder: Path) -> None:
        """Nobody has to open the models of a folder, whose weights the pair has: they are as if they had been opened just now."""
        self._files = self._found(folder)
        self._let_go()
        lend(self.exp, folder, self.fabric.device, self._each())

    def take(self) -> Models:
        """The pair, to be trained. Whoever opens the models of a folder from now on gets others; what was shared takes no room any more."""
        assert self._pair is not None
        close_models()
        self._files = []
        self._let_go()
        return self._pair

    def _let_go(self) -> None:
        for model, held in zip(self._each().values(), self._held, strict=True):
            model.zero_grad()
            held.restore()

    def _each(self) -> dict[str, Any]:
        return {name: getattr(self._pair, name) for name in self.exp.config.models}

    def _found(self, folder: Path) -> list[object]:
        return [identity(folder / name / "model.pth") for name in self.exp.config.models]

    def _load(self, start: Path) -> Models:
        exp, device = self.exp, self.fabric.device
        asr = load_asr(start, exp.config, device)
        tts = load_tts(start, exp.config, read_voices(exp), device) if "tts" in exp.config.models else None
        if exp.config.even_batches:
            replays = exp.config.graphs and recordable(self.fabric)
            for model in (asr, tts) if tts else (asr,):
                model.use_graphs(replays)
        return Models(asr, cast("Synthesizer", tts))


def run_round(exp: Experiment, history: list[dict[str, Any]], fabric: Fabric, models: RoundModels) -> dict[str, Any]:
    """The round after those of the history; returns its metrics, which also lie in its folder."""
    number, start = len(history), starting_round(history, _rises(exp))
    work = exp.work(number)
    log.info("round %d of %d, from round %d", number, exp.config.rounds.count, start)
    trained, done = work / "trained.json", work / "metrics.json"  # each written last, when what it speaks of is whole
    if not trained.exists() and not done.exists():
        cluster = open_cluster(exp.cluster, exp.config.precision) if exp.cluster else None
        models.fill(exp.round(start))
        data = exchange(exp, number, exp.round(start), work, fabric, cluster)
        failure = train_round(exp, number, models.take(), exp.round(start), data, scale(history), work, fabric)
        by_first(fabric, lambda: write_json(trained, {"monitors": data.monitors, "failure": failure}))
        models.lend(work)
    by_first(fabric, lambda: _finish_round(exp, history, start, fabric))
    return cast("dict[str, Any]", read_json(exp.round(number) / "metrics.json"))


def _finish_round(exp: Experiment, history: list[dict[str, Any]], start: int, fabric: Fabric) -> None:
    """Looks at what was trained, and gives the round its name."""
    number = len(history)
    work = exp.work(number)
    trained, done = work / "trained.json", work / "metrics.json"
    if not done.exists():
        monitors, failure = read_json(trained)["monitors"], read_json(trained)["failure"]
        metrics = {"round": number, "from": start, **monitors, **dev_figure(exp, work, fabric)}
        status = failure or health(metrics, history, exp.config.rounds.collapse_margin, _rises(exp))
        write_json(done, {**metrics, "status": status})
    metrics = read_json(done)
    trained.unlink(missing_ok=True)
    for leftover in ("synthetic", "state"):
        shutil.rmtree(work / leftover, ignore_errors=True)
    os.replace(work, exp.round(number))
    log.info("round %d: %s", number, ", ".join(f"{k} {v:.3f}" for k, v in metrics.items() if isinstance(v, float)))


def health(metrics: dict[str, Any], history: list[dict[str, Any]], margin: float, higher_is_better: bool = False) -> str:
    """`ok`, or what is wrong with a round, after those of the history."""
    figures = [m["asr_dev"] for m in history if m["status"] == "ok"]
    if metrics["empty_share"] > 0.5:
        return "collapsed: more than half of the dev hypotheses are empty"
    if higher_is_better:
        limit = min(max(figures) * (1 - margin), max(figures) - FLOOR)
        return "ok" if metrics["asr_dev"] >= limit else f"collapsed: {metrics['asr_dev']:.3f} on dev, below {limit:.3f}"
    limit = max(min(figures) * (1 + margin), min(figures) + FLOOR)
    return "ok" if metrics["asr_dev"] <= limit else f"collapsed: dev error {metrics['asr_dev']:.3f} above {limit:.3f}"


def train_round(
    exp: Experiment, number: int, models: Models, start: Path, data: RoundData, rate: float, work: Path, fabric: Fabric
) -> str | None:
    """Trains the models on the round's streams and saves them; returns why training failed, if it did.

    Args:
        models: those of `start`.
        rate: multiplies the learning rates.
    """
    conf = exp.config.rounds
    both: dict[str, Any] = {name: getattr(models, name) for name in exp.config.models}
    slower: dict[str, tuple[nn.Module, Optimizer]] = {}
    for name, model in both.items():
        optimizer: Optimizer = getattr(conf, name)
        slower[name] = (model, replace(optimizer, lr=optimizer.lr * rate))
    tasks = make_tasks(exp, number, data)
    begin([task.objective for task in tasks], Origin(exp, start, fabric.device))
    trainer = Trainer(work / "state", exp.path, f"round_{number:02d}", models, slower, tasks, conf.updates,
                      seed_of(exp.config.seed, "round", number), exp.config.run, fabric)  # fmt: skip
    failure = None
    try:
        trainer.fit()
    except Diverged as error:
        failure = f"diverged: {error.what}"
    by_first(fabric, lambda: [model.save(work / name) for name, model in both.items()])
    return failure


def make_tasks(exp: Experiment, number: int, data: RoundData) -> list[Task]:
    """The objectives of the recipe that have a weight and something to train on."""
    tasks = []
    for name, objective in objectives(exp.config).items():
        conf = exp.config.rounds.objectives[name]
        mix = {k: v for k, v in conf.shares(number).items() if k in data.streams and len(data.streams[k])}
        if mix:
            even = exp.config.even_batches and getattr(objective, "graphs", False)
            mixture = Mixture(data.streams, mix, conf.batch_frames, seed_of(exp.config.seed, number, name), even)
            tasks.append(Task(name, objective, mixture, conf.weight, conf.every, round(conf.start * exp.config.rounds.updates)))
    if not tasks:
        what = f"no objective has both a weight and something to train on ({exp.system} on {exp.corpus})"
        raise UserError(what, "rounds.objectives", "take another recipe or control, or fill the pools that it needs")
    return tasks
