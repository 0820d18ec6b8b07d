"""All stages in one process: what `run.sh` calls."""

from __future__ import annotations

import argparse
import fcntl
import importlib
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import IO

from cycle import __version__, controls, stage
from cycle.config import ROOT, flatten, lenient, load, overlaid, place_of
from cycle.device import fabric, rank, ranks, resolve
from cycle.errors import UserError
from cycle.exchange import select
from cycle.exchange.cluster import open_cluster
from cycle.experiment import Experiment
from cycle.files import read_json, write_json, write_yaml
from cycle.log import log, setup
from cycle.settings import Config
from cycle.yaml_file import read_yaml

SHARED = (3, 4, 5)  # stages that train, which several ranks share
PRETRAIN, ROUNDS = stage.STAGES[2:4]  # the ones that build models and the recipe; once they have begun, these have been looked at


def open_experiment(options: argparse.Namespace, control: str | None = None) -> Experiment:
    """The experiment that command line options name.

    Raises:
        UserError: anything wrong with them.
    """
    device = resolve(options.device)
    overrides = list(options.overrides)
    if options.rounds is not None:
        overrides.append(f"rounds.count={options.rounds}")
    config = load(options.corpus, options.recipe, overrides, device)
    path, data = _folders(options)
    if _only_looks(options) and (path / "config.yaml").is_file():
        # What was decoded is scored and shown under the settings that it was made with; only how to score may be said anew.
        config = lenient(read_yaml(path / "config.yaml"), [word for word in overrides if word.startswith(("score.", "run."))])[0]
    exp = Experiment(path, config, options.corpus, options.recipe, data, device, options.cluster)
    if control is not None:
        exp = controls.inside(exp, control, load(options.corpus, options.recipe, overrides, device, control))
    return exp


def _only_looks(options: argparse.Namespace) -> bool:
    """Whether nothing is made but scores and a report."""
    return options.stage > 5 and controls.wanted(options.controls) == []


def _unheard(exp: Experiment, options: argparse.Namespace) -> list[str]:
    """A sentence for each setting behind -- that comes too late for what has been made."""
    if not (_only_looks(options) and options.overrides):
        return []
    typed = flatten(asdict(load(options.corpus, options.recipe, options.overrides, exp.device)))
    keys = [word.partition("=")[0] for word in options.overrides]
    made = flatten(asdict(exp.config))
    late = [key for key in keys if typed.get(key) != made.get(key)]
    return [f"{key}: {typed.get(key)} says nothing to what was made with {made.get(key)}" for key in late]


def _folders(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """Where the experiment is, and the corpus if it was said."""
    for name in ("exp", "data"):
        if getattr(options, name) == "":
            raise UserError("is empty", f"--{name}", "name a folder, or leave it out")
    path = Path(options.exp).resolve() if options.exp else ROOT / "exp" / options.corpus
    there = next(p for p in (path, *path.parents) if p.exists())
    if not there.is_dir():
        raise UserError("is no folder", there, "name another with --exp")
    return path, Path(options.data).resolve() if options.data else None


def _look(exp: Experiment, options: argparse.Namespace) -> None:
    """Looks at what the stages to come will need; what was looked at when they began is not looked at again.

    Raises:
        UserError: a cluster, a recipe or a model that cannot be: it is heard of now, not after pretraining.
    """
    begins = [s for s in (PRETRAIN, ROUNDS) if not s.stamp_file(exp).exists() or (options.redo and options.stage <= s.number)]
    if options.cluster:
        cluster = open_cluster(options.cluster, exp.config.precision)
        if ROUNDS in begins or not ROUNDS.done(exp):
            cluster.look()
    if ROUNDS in begins:
        recipe = f"conf/recipes/{options.recipe}.yaml"
        if exp.control is not None:
            controls.check(exp.config, exp.control, recipe)
        _check(exp.config, [recipe] if exp.control is None else [f"conf/controls/{exp.control}.yaml", recipe])
    if exp.control is None and PRETRAIN in begins and options.stop_stage >= PRETRAIN.number:
        from cycle.models.pair import try_models

        try_models(exp.config)


def _check(config: Config, files: list[str]) -> None:
    """Raises UserError for a recipe that cannot be trained, with the place in one of these files, where it stands there."""
    from cycle.objectives.recipe import objectives  # and with it torch, which a finished run is looked through without

    try:
        objectives(config)
        select.check(config.rounds.select_labels, select.LABEL_RULES, "rounds.select_labels")
        select.check(config.rounds.select_synthetic, select.SYNTHETIC_RULES, "rounds.select_synthetic")
        blind = [rule.rule for rule in config.rounds.select_labels if select.needs_judge(rule)] if config.rounds.label.judged == 0 else []
        if blind:
            what = f"no label is judged, and rule {blind[0]!r} selects by the synthesiser's scores"
            raise UserError(what, "rounds.label.judged", "write 1 or more, or select otherwise")
    except UserError as error:
        raise UserError(error.what, place_of(str(error.where), config, files), error.remedy) from error


def redo(exp: Experiment, first: int) -> None:
    """Forgets the stages from `first` on, those of controls too."""
    for s in reversed(stage.STAGES):
        if s.number >= first:
            stage.clear(s, exp)
    if first <= 5:
        controls.forget_decoding(exp)
    if first <= 4:
        shutil.rmtree(exp.path / "decode", ignore_errors=True)
        shutil.rmtree(exp.path / "controls", ignore_errors=True)
        (exp.path / "final").unlink(missing_ok=True)
    if first <= 3:
        shutil.rmtree(exp.path / "tensorboard", ignore_errors=True)
        (exp.path / "metrics.jsonl").unlink(missing_ok=True)


def main(options: argparse.Namespace) -> int:
    """Runs stages `options.stage` to `options.stop_stage`, controls between the rounds and the scores."""
    if options.stage > options.stop_stage:
        raise UserError(f"--stage {options.stage} lies behind --stop-stage {options.stop_stage}", None, "give the first and the last stage")
    exp = open_experiment(options)
    names, alone = controls.wanted(options.controls, exp.config), "give them in a second call, without torchrun"
    if options.redo and options.stage == 5:  # they are trained, and stay
        names += [name for name in controls.trained(exp) if name not in names]
        alone = "stage 5 decodes them again: redo it without torchrun"
    others = [open_experiment(options, name) for name in names if name != "lm"]
    _refuse(exp, others, options)
    for each in (exp, *others):
        _look(each, options)
    exp.path.mkdir(parents=True, exist_ok=True)
    if ranks()[0] > 1 and names:
        raise UserError(f"controls ({', '.join(names)}) train and are decoded in one process each", "--controls", alone)
    if rank() > 0:
        return follow(exp, options)
    setup(exp.path / "run.log")
    open_control = partial(_open_control, options)
    if options.control:  # a worker of --jobs
        controls.run_one(exp, options.control, open_control)
        return 0
    held = lock(exp.path)  # until the process ends
    for line in (*overlaid(exp.config, options.recipe, options.overrides), *_unheard(exp, options)):
        log.warning(line)
    if options.redo:
        redo(exp, options.stage)
    # It would forget again what has been made since. What is decoded is decoded anew, or controls would have to be named.
    again = "the same command without --redo" if options.redo and options.stage < 5 else "the same command"
    try:
        _run_all(exp, options, partial(controls.run, exp, names, options.jobs, open_control, held, again))
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(again) from error
    return 0


def _run_all(exp: Experiment, options: argparse.Namespace, train_controls: Callable[[], None]) -> None:
    for s in stage.STAGES:
        if options.stage <= s.number <= options.stop_stage:
            if s.number == 6:
                train_controls()
                list_systems(exp)
            _run(s, exp)
    if options.stop_stage in (4, 5):
        train_controls()


def _open_control(options: argparse.Namespace, name: str) -> Experiment:
    """A control as its files are now, which may be hours after the run has looked at them."""
    exp = open_experiment(options, name)
    _look(exp, options)
    return exp


def _run(s: stage.Stage, exp: Experiment) -> None:
    stage.refuse(s, exp)
    if s.number <= 5:  # what the models are made with; scoring alone must not touch it
        record(exp)
    if s.number in SHARED:
        meet(exp)
    stage.run(s, exp)


def _refuse(exp: Experiment, others: list[Experiment], options: argparse.Namespace) -> None:
    """Raises UserError, before anything is touched, where what is there was begun otherwise, or what is to come has nothing to begin with.

    Args:
        others: the controls.
    """
    _refuse_missing(exp, options)
    for other in others:
        stage.refuse_others(other, min(4, options.stage - 1) if options.redo else 5)
    kept = options.stage - 1 if options.redo else len(stage.STAGES)
    _refuse_another(exp, kept)
    if not _only_looks(options):
        stage.refuse_others(exp, kept)


def _refuse_missing(exp: Experiment, options: argparse.Namespace) -> None:
    """Raises UserError where the first stage to come lacks its inputs; the first of all, its corpus, which the first rank alone reads."""
    first = stage.STAGES[options.stage - 1]
    stage.refuse_missing(first, exp)
    if first.number == 1 and rank() == 0 and (options.redo or not first.done(exp)):
        from cycle.prepare import named_root, recipe

        named_root(exp, recipe(exp.corpus))


def _refuse_another(exp: Experiment, kept: int) -> None:
    """Raises UserError for a folder that holds the experiment of another corpus or recipe.

    Args:
        kept: how many stages stay.
    """
    file = exp.path / "experiment.json"
    if not file.exists():
        return
    about = read_json(file)
    for what, mine, first in (("corpus", exp.corpus, 1), ("recipe", exp.recipe, ROUNDS.number)):
        begun = any(s.stamp_file(exp).exists() for s in stage.STAGES[first - 1 : kept])
        if about.get(what) != mine and begun:
            raise UserError(f"holds an experiment of {what} {about.get(what)}, not {mine}", exp.path, "name another folder with --exp")


def meet(exp: Experiment) -> None:
    """Waits until all ranks look at the same files: each decides by them whether a stage is finished."""
    if ranks()[0] > 1:
        both = fabric(exp.device, exp.config.precision)
        both.barrier()  # what came before is written
        both.barrier()  # and nobody writes while another one looks


def follow(exp: Experiment, options: argparse.Namespace) -> int:
    """What ranks other than the first do under torchrun: their share of the stages that train."""
    log.setLevel(logging.WARNING)
    together = fabric(exp.device, exp.config.precision)
    for s in stage.STAGES:
        if s.number in SHARED and options.stage <= s.number <= options.stop_stage:
            together.barrier()
            finished = stage.finished(s, exp)
            together.barrier()
            if not finished:
                importlib.import_module(f"cycle.{s.verb}").main(exp)
    return 0


def lock(path: Path) -> IO[str]:
    """Keeps a second run out of an experiment folder; the kernel lets go when this process ends, however it ends.

    Raises:
        UserError: another run is at work there.
    """
    handle = open(path / ".lock", "w")  # noqa: SIM115  # open as long as the process lives
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError("another run is at work here", path, "wait for it, or name another folder with --exp") from error
    return handle


def record(exp: Experiment) -> None:
    """The completed configuration beside the models."""
    write_yaml(exp.path / "config.yaml", asdict(exp.config), sort_keys=False)
    about = {"corpus": exp.corpus, "recipe": exp.recipe, "device": exp.device, "command": sys.argv[1:], "versions": versions()}
    write_json(exp.path / "experiment.json", about)


def versions() -> dict[str, str]:
    """What the models are made with."""
    return {"cycle": __version__, "Python": python_version(), **{name: version(name) for name in ("torch", "espnet", "numpy", "librosa")}}


def list_systems(exp: Experiment) -> None:
    """What `score` reads beside the hypotheses: which systems there are, how the rounds went, seconds spent."""
    folder = exp.root / "decode"
    if not exp.decoded(exp.recipe).exists():
        raise UserError("nothing was decoded", folder, "run stage 5 first")
    systems = [n for n in ("baseline", exp.recipe) if (folder / n / "test.jsonl").exists()]
    systems += sorted(p.parent.name for p in folder.glob("*/test.jsonl") if p.parent.name not in systems)
    write_json(folder / "systems.json", {"systems": systems, "seconds": stage.seconds_spent(exp)})
    write_json(folder / "rounds.json", read_json(exp.decoded(exp.recipe) / "rounds.json"))
