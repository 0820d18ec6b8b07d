"""Stages and their stamps: a finished stage is skipped, a changed one refused, a killed one resumed.

A stamp holds the settings that the stage declares it reads, digests of the files it reads, and the stage's version. It is written twice:
when the stage begins (`done: false`), so that a killed stage resumes only under the same settings, and when it ends.
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cycle.config import defaults, flatten, model_file
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import digest, read_json, write_json
from cycle.log import log
from cycle.yaml_file import read_yaml

SPEED = {"precision", "few_shapes", "graphs"}
YAML = "yaml"  # in a stamp, asr.yaml.KEY is what the file that asr.config names says of KEY


@dataclass(frozen=True)
class Stage:
    """One numbered stage.

    Attributes:
        verb: `python -m cycle <verb>`; also the module `cycle.<verb>` whose `main(exp)` does the work.
        reads: settings it depends on, as prefixes of dotted keys.
        inputs: the files it reads.
        outputs: what a redo removes.
        derived: cheap to make again, so that a change of settings or inputs reruns it rather than stopping the run.
    """

    number: int
    verb: str
    title: str
    reads: tuple[str, ...]
    inputs: Callable[[Experiment], list[Path]]
    outputs: Callable[[Experiment], list[Path]]
    derived: bool = False
    version: int = 1

    def stamp_file(self, exp: Experiment) -> Path:
        return exp.stamps / f"{self.number}_{self.verb}.json"

    def done(self, exp: Experiment) -> bool:
        """Whether its stamp says so."""
        file = self.stamp_file(exp)
        return file.exists() and bool(read_json(file)["done"])

    def settings(self, exp: Experiment) -> dict[str, Any]:
        values = flatten(asdict(exp.config))
        chosen = {k: v for k, v in values.items() if k.split(".")[0] in self.reads or k in self.reads}
        chosen["corpus_name"] = exp.corpus
        if self.number == 1 and exp.data_root:
            chosen["data"] = str(exp.data_root)
        for model in exp.config.models:  # what is in the YAML that is named, too; with `init` that of the checkpoint counts
            named = getattr(exp.config, model)
            file = model_file(named.config)
            if model in self.reads and named.init is None and file.is_file():
                chosen |= flatten(read_yaml(file), f"{model}.{YAML}.")
        return chosen

    def stamp(self, exp: Experiment, done: bool, seconds: float) -> dict[str, Any]:
        inputs = {p.relative_to(exp.root).as_posix(): digest([p]) for p in self.inputs(exp) if p.exists()}
        return {"version": self.version, "done": done, "seconds": seconds, "settings": self.settings(exp), "inputs": inputs}


def difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Names the first thing that changed between two stamps, None when nothing did."""
    if old["version"] != new["version"]:
        return f"stage version {old['version']} -> {new['version']}"
    files = sorted(key for key in set(old["inputs"]) | set(new["inputs"]) if old["inputs"].get(key) != new["inputs"].get(key))
    return changed(old["settings"], new["settings"]) or (f"file {files[0]}" if files else None)


def changed(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The first setting that differs. One that is not there is null; an empty mapping says nothing: what is in it has keys of its own."""
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if before != after and {} not in (before, after):
            return f"{key}: {'(none)' if before is None else before} -> {'(none)' if after is None else after}"
    return None


def clear(stage: Stage, exp: Experiment) -> None:
    """Removes what a stage made, its stamp first."""
    stage.stamp_file(exp).unlink(missing_ok=True)
    for path in stage.outputs(exp):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def name_of(stage: Stage, exp: Experiment) -> str:
    return f"stage {stage.number} ({stage.verb})" + (f" of {exp.control}" if exp.control else "")


def refuse_missing(stage: Stage, exp: Experiment) -> None:
    """Raises UserError for a stage whose inputs are not there."""
    missing = [p for p in stage.inputs(exp) if not p.exists()]
    if missing:
        what = f"{name_of(stage, exp)} needs it and it is not there"
        raise UserError(what, missing[0], f"run the stages before {stage.number} first")


def refuse(stage: Stage, exp: Experiment) -> tuple[dict[str, Any] | None, dict[str, Any], str | None]:
    """Refuses a stage that cannot run, before anything is touched.

    Returns:
        the stamp that is there, the one it would get, and what differs between them.

    Raises:
        UserError: its settings or inputs are not those it was begun with, or its inputs are missing.
    """
    refuse_missing(stage, exp)
    old = _known(stage, exp)
    new = stage.stamp(exp, done=False, seconds=(old or {}).get("seconds", 0.0))
    found = difference(old, new) if old else None
    if found and not stage.derived:
        raise _other(stage, exp, found)
    return old, new, found


def _known(stage: Stage, exp: Experiment) -> dict[str, Any] | None:
    """The stamp that is there; a setting that came later was as conf/base.yaml has it."""
    file = stage.stamp_file(exp)
    if not file.exists():
        return None
    old, mine = read_json(file), stage.settings(exp)
    later = {k: v for k, v in defaults().items() if k in mine}
    if not any(f".{YAML}." in key for key in old["settings"]):
        later |= {k: v for k, v in mine.items() if f".{YAML}." in k}
    return {**old, "settings": later | old["settings"]}


def _other(stage: Stage, exp: Experiment, what: str) -> UserError:
    kept = exp.root / "config.yaml"
    preset = read_yaml(kept).get("preset") if kept.is_file() else None
    if preset not in (None, exp.config.preset):
        what = f"preset: {preset} -> {exp.config.preset}, so {what}"
    remedy = f"put them back, or {f'remove {exp.path}' if exp.control else f'add --stage {stage.number} --redo'}"
    return UserError(f"{name_of(stage, exp)} was run with other settings: {what}", stage.stamp_file(exp), remedy)


def refuse_others(exp: Experiment, kept: int) -> None:
    """Refuses settings under which what stays was not begun: what is made with them would not fit it. How fast it was made does not matter.

    Args:
        kept: how many stages stay.

    Raises:
        UserError: names the first stage and setting.
    """
    for stage in STAGES[:kept]:
        old = None if stage.derived else _known(stage, exp)
        if old:
            new = stage.settings(exp)
            free = SPEED | ({"data"} - set(new))  # where the corpus was need not be said again once it is read
            found = changed(*({k: v for k, v in side.items() if k not in free} for side in (old["settings"], new)))
            if found:
                raise _other(stage, exp, found)


def _whole(stage: Stage, exp: Experiment, old: dict[str, Any] | None, found: str | None) -> bool:
    return bool(old and not found and old["done"] and all(p.exists() for p in stage.outputs(exp)[:1]))


def finished(stage: Stage, exp: Experiment) -> bool:
    """Whether a stage has nothing left to do. Raises as `refuse` does."""
    old, _, found = refuse(stage, exp)
    return _whole(stage, exp, old, found)


def run(stage: Stage, exp: Experiment) -> bool:
    """Runs a stage unless it is finished.

    Returns:
        whether anything was done.

    Raises:
        UserError: its settings or inputs are not those it was begun with, or its inputs are missing.
    """
    file, name = stage.stamp_file(exp), name_of(stage, exp)
    old, new, found = refuse(stage, exp)
    if _whole(stage, exp, old, found):
        log.info("%s: finished, skipped", name)
        return False
    write_json(file, new)
    log.info("%s: %s", name, stage.title)
    start = time.monotonic()
    try:
        importlib.import_module(f"cycle.{stage.verb}").main(exp)
    except UserError:
        if not any(p.exists() for p in stage.outputs(exp)):  # nothing was begun that other settings could not go on with
            file.unlink()
        raise
    finally:
        new["seconds"] += time.monotonic() - start
        if file.exists():
            write_json(file, new)  # also when interrupted: the time was spent
    write_json(file, {**new, "done": True})
    log.info("%s: done in %.0f s", name, time.monotonic() - start)
    return True


def seconds_spent(exp: Experiment) -> float:
    """Seconds over the stages up to decoding and all sittings, controls not counted."""
    return sum(float(read_json(p)["seconds"]) for p in exp.stamps.glob("[1-5]_*.json"))


def _pools(exp: Experiment) -> list[Path]:
    return [exp.data(pool) for pool in ("paired", "speech", "text", "dev", "test")]


def _spoken(exp: Experiment) -> list[Path]:
    """What a synthesiser needs beside the pools; one voice has no vectors."""
    vectors = exp.voices / "vectors.npy"
    needed = [exp.aligner / "model.pth", exp.voices / "speakers.npy", *([vectors] if vectors.exists() else [])]
    return needed if "tts" in exp.config.models else []


STAGES = (
    Stage(1, "prepare", "corpus to data directories", ("corpus", "pools", "features"), lambda e: [],
          lambda e: [e.root / "data", e.oracle], version=2),
    Stage(2, "tokens", "token lists, features and their statistics", ("models", "features", "prior"), _pools,
          lambda e: [e.tokens, e.root / "feats"], version=2),
    Stage(3, "pretrain", "recogniser and synthesiser on the paired pool",
          ("seed", "precision", "few_shapes", "graphs", "models", "asr", "tts", "augment", "aligner", "voices", "pretrain"),
          lambda e: [*_pools(e), e.tokens], lambda e: [e.round(0), e.aligner, e.voices, e.root / "pretrain"],
          version=2),
    Stage(4, "rounds", "the cycle", ("seed", "precision", "few_shapes", "graphs", "models", "augment", "rounds", "prior", "decode"),
          lambda e: [*_pools(e), e.tokens, *_spoken(e), e.round(0)],
          lambda e: [e.path / "rounds.json", e.path / "work", *(p for p in e.path.glob("round_*") if p.name != "round_00")]),
    Stage(5, "decode", "transcribe and synthesise the evaluation sets", ("seed", "models", "decode", "judge"),
          lambda e: [e.round(0), e.path / "rounds.json"], lambda e: [e.decoded(e.system) / "test.jsonl", e.decoded(e.system), e.judge]),
    Stage(6, "score", "error rates and summary.json", ("score",), lambda e: [e.root / "decode"],
          lambda e: [e.summary, e.scores], derived=True),
    Stage(7, "report", "pages and figures", (), lambda e: [e.summary], lambda e: [e.report, e.samples], derived=True, version=2),
)  # fmt: skip
