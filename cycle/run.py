"""All stages in one process: what `run.sh` calls."""

from __future__ import annotations

import argparse
import fcntl
import importlib
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO

from cycle import stage
from cycle.config import ROOT, as_dict, available, load, needs_no_tts
from cycle.device import rank, ranks, resolve
from cycle.errors import UserError
from cycle.exchange import select
from cycle.exchange.cluster import open_cluster
from cycle.experiment import Experiment
from cycle.files import digest, read_json, write_json, write_text
from cycle.log import setup
from cycle.settings import Config

log = logging.getLogger("cycle")
SHARED = (3, 4, 5)  # stages that train, which several ranks share
ROUNDS = stage.STAGES[3]  # the one that trains by the recipe; once it has begun, the recipe has been looked at


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
    path = Path(options.exp).resolve() if options.exp else ROOT / "exp" / options.corpus
    if path.exists() and not path.is_dir():
        raise UserError("is no folder", path, "name another with --exp")
    data = Path(options.data).resolve() if options.data else None
    exp = Experiment(path, config, options.corpus, options.recipe, data, device, options.cluster)
    if options.cluster:
        open_cluster(options.cluster, config.precision)  # a mistake in it is heard of now, not after pretraining
    if control is not None:
        exp = control_of(exp, control, load(options.corpus, options.recipe, overrides, device, control))
    if options.redo or not ROUNDS.stamp_file(exp).exists():
        _check(exp.config)
    return exp


def _check(config: Config) -> None:
    """Raises UserError for a recipe that cannot be trained: it is heard of now, not after pretraining."""
    from cycle.objectives.recipe import objectives  # and with it torch, which a finished run is looked through without

    needs_no_tts(config)
    objectives(config)
    select.check(config.rounds.select_labels, select.LABEL_RULES, "rounds.select_labels")
    select.check(config.rounds.select_synthetic, select.SYNTHETIC_RULES, "rounds.select_synthetic")


def control_of(main: Experiment, control: str, config: Config) -> Experiment:
    """A control system inside an experiment."""
    return replace(main, path=main.path / "controls" / control, config=config, control=control, main=main)


def wanted_controls(text: str) -> list[str]:
    """Names of `--controls a,b|all`."""
    known = ["more_steps", "pseudo_only", "tts_only", "lm", "oracle"]
    known += [c for c in available("conf/controls") if c not in known]
    if text in ("", "none"):
        return []
    names = known if text == "all" else [n for n in text.split(",") if n]
    for name in names:
        if name not in known:
            raise UserError(f"no control {name!r}", "--controls", f"choose among: all, {', '.join(known)}")
    return names


def redo(exp: Experiment, first: int) -> None:
    """Forgets the stages from `first` on, those of controls too."""
    for s in reversed(stage.STAGES):
        if s.number >= first:
            stage.clear(s, exp)
    if first <= 5:
        shutil.rmtree(exp.path / "decode", ignore_errors=True)
        for control in exp.path.glob("controls/*/stamps/5_decode.json"):
            control.unlink()
    if first <= 4:
        shutil.rmtree(exp.path / "controls", ignore_errors=True)
        (exp.path / "final").unlink(missing_ok=True)
    if first <= 3:
        shutil.rmtree(exp.path / "tensorboard", ignore_errors=True)
        (exp.path / "metrics.jsonl").unlink(missing_ok=True)


def main(options: argparse.Namespace) -> int:
    """Runs stages `options.stage` to `options.stop_stage`, controls between the rounds and the scores."""
    exp = open_experiment(options)
    controls = wanted_controls(options.controls)
    for name in controls:
        if name != "lm":
            open_experiment(options, name)  # for its mistakes
    exp.path.mkdir(parents=True, exist_ok=True)
    if ranks()[0] > 1 and controls:
        raise UserError("controls train in one process each", "--controls", "give them in a second call, without torchrun")
    if rank() > 0:
        return follow(exp, options)
    setup(exp.path / "run.log")
    if options.control:  # a worker of --jobs
        return run_control(exp, options.control, options)
    alone = lock(exp.path)  # held until the process ends
    log.debug("locked %s", alone.name)
    if options.redo:
        redo(exp, options.stage)
    for s in stage.STAGES:
        if options.stage <= s.number <= options.stop_stage:
            if s.number == 6:
                run_controls(exp, controls, options)
                list_systems(exp)
            stage.refuse(s, exp)
            if s.number <= 5:  # what the models are made with; scoring alone must not touch it
                record(exp)
            if s.number in SHARED:
                meet(exp)
            stage.run(s, exp)
    if options.stop_stage in (4, 5):
        run_controls(exp, controls, options)
    return 0


def meet(exp: Experiment) -> None:
    """Waits until all ranks look at the same files: each decides by them whether a stage is finished."""
    if ranks()[0] > 1:
        from cycle.device import fabric

        both = fabric(exp.device, exp.config.precision)
        both.barrier()  # what came before is written
        both.barrier()  # and nobody writes while another one looks


def follow(exp: Experiment, options: argparse.Namespace) -> int:
    """What ranks other than the first do under torchrun: their share of the stages that train."""
    from cycle.device import fabric

    logging.getLogger("cycle").setLevel(logging.WARNING)
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
    import yaml

    write_text(exp.path / "config.yaml", yaml.safe_dump(as_dict(exp.config), allow_unicode=True, sort_keys=False))
    about = {"corpus": exp.corpus, "recipe": exp.recipe, "device": exp.device, "command": sys.argv[1:], "versions": versions()}
    write_json(exp.path / "experiment.json", about)


def versions() -> dict[str, str]:
    """What the models are made with."""
    from importlib.metadata import version
    from platform import python_version

    from cycle import __version__

    return {"cycle": __version__, "Python": python_version(), **{name: version(name) for name in ("torch", "espnet", "numpy", "librosa")}}


def run_controls(exp: Experiment, names: list[str], options: argparse.Namespace) -> None:
    """Trains and decodes control systems, one after another or several side by side in processes of their own."""
    if options.jobs <= 1 or len(names) <= 1:
        for name in names:
            run_control(exp, name, options)
        return
    from cycle.decode import open_judge

    if "tts" in exp.config.models:
        open_judge(exp)  # one for all, before several would train it at once
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))

    def work(name: str) -> tuple[str, int]:
        words = [sys.executable, "-m", "cycle", "run", *sys.argv[2:]]
        cut = words.index("--") if "--" in words else len(words)
        words[cut:cut] = ["--control", name, "--stage", "4", "--controls", "none", "--jobs", "1"]
        words = [w for w in words if w != "--redo"]
        env = {**os.environ, "CYCLE_THREADS": threads, "OMP_NUM_THREADS": threads}
        return name, subprocess.run(words, env=env, check=False).returncode  # our own command line again

    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [name for name, code in pool.map(work, names) if code]
    if failed:
        raise UserError(f"control {failed[0]!r} failed", exp.path / "run.log", "read its lines there; the same command goes on")


def run_control(exp: Experiment, name: str, options: argparse.Namespace) -> int:
    """Stages 4 and 5 of one control; `lm` is the baseline decoded otherwise and has no rounds."""
    if name == "lm":
        path = exp.decoded("lm")
        settings = as_dict(exp.config)
        seen = {
            "lm": settings["lm"],
            "inputs": digest([exp.tokens / "prior.json", exp.round(0) / "asr" / "model.pth", exp.data("dev"), exp.data("test")]),
        }
        stamp = path / "stamp.json"
        if not (stamp.exists() and read_json(stamp) == seen):
            from cycle.decode import decode_lm

            log.info("control lm: the baseline with the text-side prior")
            decode_lm(exp)
            write_json(stamp, seen)
        return 0
    control = open_experiment(options, name)
    for s in stage.STAGES[3:5]:
        stage.run(s, control)
    return 0


def list_systems(exp: Experiment) -> None:
    """What `score` reads beside the hypotheses: which systems there are, how the rounds went, seconds spent."""
    folder = exp.root / "decode"
    if not exp.decoded(exp.recipe).exists():
        raise UserError("nothing was decoded", folder, "run stage 5 first")
    systems = [n for n in ("baseline", exp.recipe) if (folder / n / "test.jsonl").exists()]
    systems += sorted(p.parent.name for p in folder.glob("*/test.jsonl") if p.parent.name not in systems)
    write_json(folder / "systems.json", {"systems": systems, "seconds": stage.seconds_spent(exp)})
    write_json(folder / "rounds.json", read_json(exp.decoded(exp.recipe) / "rounds.json"))
