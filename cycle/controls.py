"""Control systems: from the same pretraining as the recipe's, trained and decoded inside its experiment."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import IO

from cycle import stage
from cycle.config import OTHERS, ROOT, available
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import digest, read_json, write_json
from cycle.log import log
from cycle.settings import Config
from cycle.yaml_file import read_yaml

PATIENCE = 5.0  # seconds
ROUNDS = stage.STAGES[3]
NAMES = ("more_steps", "pseudo_only", "tts_only", "lm", "oracle")

type Open = Callable[[str], Experiment]  # a control of the experiment at hand, by name


def wanted(text: str, config: Config | None = None) -> list[str]:
    """Names of `--controls a,b|all`; of all those that are not shipped, only what fits the recipe.

    Raises:
        UserError: an unknown one.
    """
    known = [*NAMES, *(name for name in available("conf/controls") if name not in NAMES)]
    if text in ("", "none"):
        return []
    if text == "all":
        return [n for n in known if n in NAMES or config is None or not _strangers(config, n)]
    names = [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"no control {name!r}", "--controls", f"choose among: all, {', '.join(known)}")
    return list(dict.fromkeys(names))


def _strangers(config: Config, control: str) -> list[str]:
    """The objectives that a control speaks of, where the recipe has none of them."""
    said = (read_yaml(ROOT / "conf/controls" / f"{control}.yaml").get("rounds") or {}).get("objectives") or {}
    known = [name for name in said if name != OTHERS]
    return [] if set(known) & set(config.rounds.objectives) else known


def check(config: Config, control: str, recipe: str) -> None:
    """Raises UserError, at the recipe's file, where a control speaks of no objective that the recipe has: it knows them by their names."""
    known = _strangers(config, control)
    if known:
        what = f"control {control} trains {' and '.join(known)}, and the recipe has {', '.join(config.rounds.objectives) or 'nothing'}"
        raise UserError(what, recipe, "name its objectives so; weight: 0.0 where only controls want one")


def trained(exp: Experiment) -> list[str]:
    """The controls whose rounds are done; `lm`, which has none, once it was decoded."""
    done = {name: ROUNDS.done(inside(exp, name, exp.config)) for name in wanted("all")}
    return [name for name in done if done[name] or (name == "lm" and exp.decoded(name).is_dir())]


def forget_decoding(exp: Experiment) -> None:
    """What stage 5 made, of controls too; which of them there are is still to be seen."""
    for system in exp.path.glob("decode/*"):
        if system.is_dir():
            shutil.rmtree(system)
        else:
            system.unlink()
        if system.name == "lm":
            system.mkdir()
    for stamp in exp.path.glob("controls/*/stamps/5_decode.json"):
        stamp.unlink()


def inside(main: Experiment, control: str, config: Config) -> Experiment:
    """A control system inside an experiment."""
    return replace(main, path=main.path / "controls" / control, config=config, control=control, main=main)


def run(
    exp: Experiment, names: list[str], jobs: int, open_control: Open, lock: IO[str] | None = None, again: str = "the same command"
) -> None:
    """Trains and decodes control systems, one after another or several side by side in processes of their own.

    Args:
        lock: of the experiment folder; the processes hold it too, so that nobody comes between should this one die.
        again: what goes on where one failed.

    Raises:
        UserError: one failed.
    """
    if jobs <= 1 or len(names) <= 1:
        for name in names:
            run_one(exp, name, open_control)
        return
    from cycle.decode import open_judge

    if "tts" in exp.config.models:
        open_judge(exp)  # one for all, before several would train it at once
    threads = os.environ.get("CYCLE_THREADS") or str(max(1, (os.cpu_count() or 1) // jobs))
    env = {**os.environ, "CYCLE_THREADS": threads, "OMP_NUM_THREADS": threads}
    held = () if lock is None else (lock.fileno(),)
    running: list[subprocess.Popen[bytes]] = []

    def work(name: str) -> tuple[str, int]:
        process = subprocess.Popen(_command(name), env=env, pass_fds=held)
        running.append(process)
        return name, process.wait()

    with ThreadPoolExecutor(jobs) as pool:
        try:
            failed = [name for name, code in pool.map(work, names) if code]
        except BaseException:  # interrupted: they are too, whoever was told
            pool.shutdown(wait=False, cancel_futures=True)
            _stop(running)
            raise
    if failed:
        raise UserError(f"control {failed[0]!r} failed", exp.path / "run.log", f"read its lines there; {again} goes on")


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """Ends processes. Those at the same terminal have been told already, and end by themselves."""
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.terminate()


def _command(name: str) -> list[str]:
    """Our own command line again, for one control."""
    words = [sys.executable, "-m", "cycle", "run", *(w for w in sys.argv[2:] if w != "--redo")]
    cut = words.index("--") if "--" in words else len(words)
    words[cut:cut] = ["--one-of-jobs", name, "--stage", "4", "--stop-stage", "5", "--controls", "none", "--jobs", "1"]
    return words


def run_one(exp: Experiment, name: str, open_control: Open) -> None:
    """Stages 4 and 5 of one control; `lm` is the baseline decoded otherwise and has no rounds."""
    if name == "lm":
        _decode_lm(exp)
        return
    control = open_control(name)
    for s in stage.STAGES[3:5]:
        stage.run(s, control)


def _decode_lm(exp: Experiment) -> None:
    """Unless it is done and nothing has changed."""
    read = [exp.prior, exp.round(0) / "asr" / "model.pth", exp.data("dev"), exp.data("test")]
    seen = {"lm": asdict(exp.config)["lm"], "inputs": digest(read)}
    stamp = exp.decoded("lm") / "stamp.json"
    if not (stamp.exists() and read_json(stamp) == seen):
        from cycle.decode import decode_lm

        log.info("control lm: the baseline with the text-side prior")
        decode_lm(exp)
        write_json(stamp, seen)
