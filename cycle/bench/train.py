"""Training both ways: ESPnet's own trainer and ours; and the cycle's step against its parts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cycle.bench import Row, with_ratios
from cycle.bench.floor import Ceiling, ceiling, counted, kernel_seconds, timed
from cycle.data.kinds import STREAMS
from cycle.device import fabric
from cycle.exchange.pools import align, open_pool
from cycle.exchange.round_data import RoundData, exchange
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.files import read_jsonl
from cycle.log import log
from cycle.models import stock
from cycle.models.graphs import recordable
from cycle.models.noise import hush
from cycle.models.pair import build_asr, build_tts, load_aligner, load_asr, load_tts, read_voices
from cycle.models.vocabulary import Vocabulary
from cycle.objectives.base import Models, Origin, begin
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.rounds import make_tasks
from cycle.settings import Augment
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream

FIRST = 3  # steps that are not timed
CURVE = 16  # steps whose losses are compared
NOTED = 16  # steps whose kernels are noted: two turns of a recipe whose rarest objectives come on every eighth
REPLAYED = "ours, replayed (graphs)"


def measure(exp: Experiment, steps: int) -> Iterator[tuple[str, Any]]:
    """Supervised training of fresh models of the experiment's sizes: ours and ESPnet's own trainer on the same batches.

    Yields:
        as they are found: what is measured; `asr` and `tts`, each with `ratio` of steps a second, and the losses of the first steps, taken
        without training noise, by which single runs of so few steps differ; `cycle`, `kernels` and `round`, see `_cycle`.
    """
    aligner_device, top = fabric(exp.device, exp.config.precision).device, ceiling(exp.device, exp.config.precision)
    vocabulary = Vocabulary.read(exp.vocabulary)
    paired, _ = align(open_pool(exp, "paired"), load_aligner(exp, aligner_device), exp.config.rounds.label.batch_frames, aligner_device)
    yield from {"steps": steps, "device": exp.device, "threads": torch.get_num_threads()}.items()
    for name in ("asr", "tts"):
        yield name, _train(exp, name, paired, vocabulary, steps, top)
    yield from _cycle(exp, paired, steps)


class _Trimmed(Mixture):
    """The same utterances in a batch, padded no further than to its longest."""

    def width(self, number: int) -> None:
        return None


def _record_at_once(model: Any, on: bool = True) -> None:
    """So that a warm run leaves nothing to be recorded."""
    model.use_graphs(on)
    for graphs in model.graphs.values():
        graphs.after = 0


def _train(exp: Experiment, name: str, paired: Stream, vocabulary: Vocabulary, steps: int, top: Ceiling) -> dict[str, Any]:
    runner, conf = fabric(exp.device, exp.config.precision), replace(exp.config, augment=Augment())  # stock has none
    replays = recordable(runner)  # then all ways train on the same batches of few shapes
    mixture = Mixture({"paired": paired}, {"paired": 1.0}, conf.pretrain.batch_frames, conf.seed, even=replays or conf.graphs)
    trimmed = _Trimmed({"paired": paired}, {"paired": 1.0}, conf.pretrain.batch_frames, conf.seed, even=mixture.even)
    usual = conf.pretrain.asr if name == "asr" else conf.pretrain.tts
    optimizer = replace(usual, lr=usual.lr / 10, warmup=0.0, floor=1.0, ema=0.0)  # at the full rate curves jump without a warm-up
    objective = AsrSupervised() if name == "asr" else TtsSupervised()

    def fresh() -> Any:
        torch.manual_seed(conf.seed)
        built = build_asr(conf, vocabulary) if name == "asr" else build_tts(conf, vocabulary, read_voices(exp))
        return built.to(runner.device).train()

    def ours(model: Any, count: int, losses: list[float] | None = None) -> None:
        with TemporaryDirectory() as folder:
            run = replace(conf.run, checkpoint_seconds=1e9, log_every=conf.run.log_every if losses is None else 1)
            parts = {name: (model, optimizer)}
            tasks = [Task(name, objective, mixture if model.graphs else trimmed)]  # type: ignore[arg-type]
            Trainer(Path(folder), Path(folder), "bench", Models(model, model), parts, tasks, count, conf.seed, run, runner).fit()
            if losses is not None:
                losses += [line[f"{name}/loss"] for line in read_jsonl(Path(folder) / "metrics.jsonl")]

    def theirs(model: Any, count: int, losses: list[float] | None = None) -> None:
        adam = torch.optim.AdamW(model.parameters(), lr=optimizer.lr, betas=(0.9, 0.98), weight_decay=optimizer.weight_decay)
        batches = islice(trimmed.batches(0, torch.device("cpu")), count)  # read ahead, as ours are
        inner = stock.Bare(model.tts) if name == "tts" else model.model
        if losses is not None:
            inner.register_forward_hook(lambda _, given, out: losses.append(float(out[0].detach())))
        stock.train_epoch(inner, adam, (stock.inputs(model, batch) for batch in batches), exp.device)

    rows: dict[str, Row] = {}
    ways = [("ESPnet's trainer", theirs, False), ("ours", ours, False), (REPLAYED, ours, True)]
    for title, work, graphs in ways if replays else ways[:2]:
        model, start = fresh(), fresh().state_dict()
        if graphs:
            _record_at_once(model)
        # What happens once is nobody's speed: memory for each shape, plans of libraries, a recording. Where that counts, it is told.
        first, _ = timed(partial(work, model, steps if replays else FIRST), exp.device)
        model.load_state_dict(start)
        took, _ = timed(partial(work, model.train(), steps), exp.device)
        rows[title] = {"seconds": took, "steps": steps / took, **({"first": first} if replays else {})}
        model.load_state_dict(start)
        hush(model)
        if graphs:
            _record_at_once(model)
        losses: list[float] = []
        work(model.train(), min(steps, CURVE), losses)
        rows[title] |= {"losses": losses, "loss": losses[-1]}
        if work is ours:
            rows[title]["apart"] = apart(losses, rows[ways[0][0]]["losses"])
        log.info("%s: %s: %.1f s for %d steps", name, title, took, steps)
    model = fresh()
    rows["ours"] |= top.row(counted(lambda: ours(model, FIRST)), steps / FIRST)
    used = REPLAYED if replays and exp.config.graphs else "ours"
    return with_ratios(rows, used, "ours")


def apart(losses: Sequence[float], others: Sequence[float]) -> float:
    """The largest difference of two curves, as a share of the second."""
    return max(abs(mine - other) / abs(other) for mine, other in zip(losses, others, strict=True))


def _cycle(exp: Experiment, paired: Stream, steps: int) -> Iterator[tuple[str, Any]]:
    """The recipe's step in its last round against its objectives, each run alone. All streams are the paired pool: only speed is asked for.

    Yields:
        `cycle`: `rows` with milliseconds a step (an objective that comes on every n-th step counts with an n-th of its own); `over_parts`,
        the whole step over their sum; on a GPU `kernels`: `busy`, the share of the time in which they run, None if none was seen; and
        `round`, see `_round`.
    """
    runner, number = fabric(exp.device, exp.config.precision), exp.config.rounds.count
    listed = replace(paired, nbest=[[(text, 0.25)] * 4 for text in paired.texts])
    streams = {name: listed if "lists" in kind.has else paired for name, kind in STREAMS.items()}
    tasks = make_tasks(exp, number, RoundData(streams))
    begin([task.objective for task in tasks], Origin(exp, exp.round(0), runner.device))

    run = replace(exp.config.run, checkpoint_seconds=1e9)

    def trainer(some: list[Task], folder: Path, count: int = steps) -> tuple[Trainer, Callable[[], None]]:
        """Ready to do again what it has done once, so that everything that happens once has happened; and what takes the models back to
        where they began: others would speak at other lengths, to be recorded first."""
        asr, tts = load_asr(exp.round(0), exp.config, runner.device), load_tts(exp.round(0), exp.config, read_voices(exp), runner.device)
        if exp.config.graphs:
            for model in (asr, tts):
                _record_at_once(model, recordable(runner))
        parts: Any = {"asr": (asr, exp.config.rounds.asr), "tts": (tts, exp.config.rounds.tts)}
        first = steps if recordable(runner) else FIRST
        made = Trainer(folder, folder, "bench", Models(asr, tts), parts, some, first, exp.config.seed, run, runner)
        starts = [(model, copy.deepcopy(model.state_dict())) for model in (asr.model, tts.tts)]

        def anew() -> None:
            for model, start in starts:
                model.load_state_dict(start)

        made.fit()
        anew()
        return replace(made, updates=count), anew

    def step(some: list[Task], folder: Path) -> float:
        """Seconds of a step; of recorded ones in the second of two runs, since rounding may have led the first to new lengths."""
        made, anew = trainer(some, folder)
        if recordable(runner):
            made.fit()
            anew()
        return timed(made.fit, exp.device)[0] / steps

    with TemporaryDirectory() as name:
        folder = Path(name)
        together = step(tasks, folder)
        alone = {task.name: step([replace(task, every=1, start=0)], folder) / task.every for task in tasks}
        rows = {title: {"milliseconds": 1000 * value} for title, value in {"the step": together, **alone}.items()}
        over = together / sum(alone.values())
        yield "cycle", {"rows": rows, "over_parts": over, "says": f"the step takes {over:.2f} times the sum of its parts"}
        if exp.device == "cuda":
            noted = kernel_seconds(trainer(tasks, folder, NOTED)[0].fit) / NOTED
            seen = f"they run {100 * noted / together:.0f} % of the time" if noted else "the profiler has seen none"
            yield "kernels", {"busy": noted / together or None, "says": seen}
            yield "round", _round(exp, runner, folder, together, noted)


def _round(exp: Experiment, runner: Fabric, folder: Path, step: float, noted: float) -> dict[str, Any]:
    """A whole round, of an exchange and its updates.

    Args:
        step: seconds of one; noted: of which kernels run.

    Returns:
        `seconds`, and `busy`, the share of them in which kernels run, as `noted` has it.
    """

    def work(name: str) -> Callable[[], object]:
        return lambda: exchange(exp, 1, exp.round(0), folder / name, runner)

    timed(work("first"), exp.device)
    wait, _ = timed(work("again"), exp.device)
    busy, updates = kernel_seconds(work("noted")), exp.config.rounds.updates
    seconds, share = wait + updates * step, (busy + updates * noted) / (wait + updates * step)
    parts = f"{wait:.1f} s of exchange, in which kernels run {100 * busy / wait:.0f} % of the time, and {updates} updates"
    return {"seconds": seconds, "busy": share, "exchange": wait, "says": f"{seconds:.0f} s: {parts}; in all {100 * share:.0f} %"}
