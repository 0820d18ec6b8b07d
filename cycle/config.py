"""One typed configuration: conf/base.yaml < recipe < corpus < preset < key=value, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, reduce
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cycle import limits
from cycle.errors import UserError
from cycle.settings import Config
from cycle.yaml_file import line_of, read_yaml

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("ctc_greedy", "ctc_beam", "joint", "attention")
OTHERS = "*"  # in corpora, presets and controls: every objective that they do not name


def _fitting(value: dict[str, Any], merged: DictConfig) -> dict[str, Any]:
    """A corpus's, preset's or control's settings for the objectives that the recipe has: what is said of `*` holds for those not named."""
    rounds = value.get("rounds")
    said = rounds.get("objectives") if isinstance(rounds, dict) else None
    if isinstance(rounds, dict) and isinstance(said, dict):  # merging refuses anything else
        rounds["objectives"] = {name: said.get(name, said.get(OTHERS, {})) for name in merged.rounds.objectives}
    return value


def _sizes(value: dict[str, Any], preset: str, file: str) -> dict[str, Any]:
    """Takes the presets out of a corpus's or recipe's settings; returns what they say of one.

    Raises:
        UserError: they are no mapping of names to mappings.
    """
    presets = value.pop("presets", None) or {}
    found = (presets.get(preset) or {}) if isinstance(presets, dict) else None
    if not isinstance(found, dict):
        line = line_of(ROOT / file, "presets")
        raise UserError(
            f"presets.{preset} holds no mapping of keys to values", f"{file}:{line}", f"write presets: {{{preset}: {{KEY: VALUE}}}}"
        )
    return found


def available(folder: str) -> list[str]:
    """Names of the YAML files in a folder of the repository: recipes, controls, presets."""
    return sorted(p.stem for p in (ROOT / folder).glob("*.yaml"))


def corpora() -> list[str]:
    return sorted(p.parent.name for p in (ROOT / "egs").glob("*/prepare.py"))


def _named(folder: str, name: str, kind: str) -> Path:
    path = ROOT / folder / f"{name}.yaml"
    if name not in available(folder):
        raise UserError(f"no {kind} {name!r}", folder, f"choose one of: {', '.join(available(folder))}")
    return path


def _holds(value: Any, said: Any) -> bool:
    """Whether a value is what a file said, and more only where the file was silent."""
    if isinstance(value, dict) and isinstance(said, dict):
        return all(key in value and _holds(value[key], part) for key, part in said.items())
    if isinstance(value, list) and isinstance(said, list):
        return len(value) == len(said) and all(map(_holds, value, said))
    return bool(value == said)


def place_of(key: str, config: Config, files: Sequence[str], lost: bool = False) -> str:
    """A dotted key with file and line, where one of these files of the repository has set it, or, if it was `lost`, has spoken of it."""
    value = _at(asdict(config), key)
    for file in files:
        line = line_of(ROOT / file, key)
        if line and (lost or _holds(value, _at(read_yaml(ROOT / file), key))):
            return f"{file}:{line}: {key}"
    return key


def _at(values: Any, key: str) -> Any:
    """What stands at a dotted key of nested mappings; None where nothing does."""
    return reduce(lambda value, part: value.get(part) if isinstance(value, dict) else None, key.split("."), values)


def _merge(base: DictConfig, value: Any, where: str | Path) -> DictConfig:
    try:
        return OmegaConf.unsafe_merge(base, value)  # type: ignore[return-value]  # what is laid over is not needed again
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or getattr(error, "key", None)
        file = None if str(where).startswith("-- ") else ROOT / where  # what was typed may be longer than names can be
        line = line_of(file, str(key)) if file and file.is_file() else None
        where = f"{where}:{line}" if line else where
        said = f"key {key!r}: " if key else ""  # none where a whole part of the configuration is given as something else
        raise UserError(f"{said}{str(error.msg or error).splitlines()[0]}", where, "conf/base.yaml lists every key") from error


def _split(overrides: list[str]) -> tuple[str | None, list[str]]:
    """Takes `preset=NAME` out of the key=value words."""
    preset, rest = None, []
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"{word!r} is not key=value", None, "write -- seed=2 rounds.count=4")
        if key == "preset":
            preset = value
        else:
            rest.append(word)
    return preset, rest


def load(corpus: str, recipe: str, overrides: list[str], device: str = "cpu", control: str | None = None) -> Config:
    """Merges all layers into one checked configuration.

    Args:
        overrides: `key=value` words; `preset=NAME` picks the sizes, else the device does.
        control: a control system, laid over everything else.

    Raises:
        UserError: unknown corpus, recipe, preset or key, or a value of the wrong type.
    """
    if corpus not in corpora():
        raise UserError(f"no corpus {corpus!r}", "egs", f"choose one of: {', '.join(corpora())}")
    preset, words = _split(overrides)
    preset = preset or ("gpu" if device == "cuda" else "cpu")
    preset_file = _named("conf/presets", preset, "preset")
    own, method = read_yaml(ROOT / "egs" / corpus / "conf.yaml"), read_yaml(_named("conf/recipes", recipe, "recipe"))
    sizes, its_sizes = _sizes(own, preset, f"egs/{corpus}/conf.yaml"), _sizes(method, preset, f"conf/recipes/{recipe}.yaml")
    merged = OmegaConf.structured(Config)
    for value, where in ((read_yaml(ROOT / "conf/base.yaml"), "conf/base.yaml"), (method, f"conf/recipes/{recipe}.yaml")):
        merged = _merge(merged, value, where)
    for value, where in (
        (own, f"egs/{corpus}/conf.yaml"),
        (read_yaml(preset_file), f"conf/presets/{preset}.yaml"),
        (sizes, f"egs/{corpus}/conf.yaml (presets.{preset})"),
        (its_sizes, f"conf/recipes/{recipe}.yaml (presets.{preset})"),
    ):
        merged = _merge(merged, _fitting(value, merged), where)
    for word in words:
        try:
            said = OmegaConf.from_dotlist([word])
        except Exception as error:  # the word is the user's, whatever the parser makes of it
            raise UserError(f"{word!r} cannot be read as key=value", None) from error
        merged = _merge(merged, said, f"-- {word}")
    if control:  # last: no setting may give a control what it must not have
        merged = _merge(merged, _fitting(read_yaml(_named("conf/controls", control, "control")), merged), f"conf/controls/{control}.yaml")
    merged.preset = preset
    try:
        _check(merged)
        config: Config = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OmegaConfBaseException as error:  # a value that refers to nothing
        raise UserError(str(error.msg or error).splitlines()[0], getattr(error, "full_key", None)) from error
    return config


def overlaid(config: Config, recipe: str, overrides: Sequence[str]) -> list[str]:
    """A sentence for each setting of a recipe that has given way to the corpus's or the preset's."""
    file, values = f"conf/recipes/{recipe}.yaml", asdict(config)
    said = read_yaml(ROOT / file)
    said.pop("presets", None)
    typed = tuple(word.partition("=")[0] for word in overrides)
    return [
        f"{place_of(key, config, [file], True)}: {value} gives way to {_at(values, key)}, which the corpus or preset {config.preset} says; "
        f"write it under presets: {config.preset}: in the recipe, or behind --"
        for key, value in flatten(said).items()
        if not _holds(_at(values, key), value) and not any(key == word or key.startswith(f"{word}.") for word in typed)
    ]


def model_file(name: str) -> Path:
    """The ESPnet YAML of a configuration, relative to the repository."""
    return Path(name) if Path(name).is_absolute() else ROOT / name


def lenient(values: dict[str, Any], words: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """The configuration of an experiment, perhaps of another version: what it does not say is as in conf/base.yaml.

    Args:
        words: `key=value`, laid over it; they have been checked.

    Returns:
        it, and a sentence for each setting that this version does not know.
    """
    base = _merge(OmegaConf.structured(Config), read_yaml(ROOT / "conf/base.yaml"), "conf/base.yaml")
    notes: list[str] = []
    try:
        merged = OmegaConf.merge(base, values)
    except OmegaConfBaseException:
        merged = base
        for key, value in flatten(values).items():
            for part in reversed(str(key).split(".")):
                value = {part: value}
            try:
                merged = OmegaConf.merge(merged, value)
            except OmegaConfBaseException:
                notes.append(f"Setting {key}: this version does not know it.")
    merged = OmegaConf.merge(merged, OmegaConf.from_dotlist(list(words)))
    try:
        config: Config = OmegaConf.to_object(merged)  # type: ignore[assignment]
    except OmegaConfBaseException:  # an objective without its class
        notes.append("Settings: they lack what this version needs, those of conf/base.yaml are shown.")
        config = OmegaConf.to_object(base)  # type: ignore[assignment]
    return config, notes


def _schedule(value: Any) -> bool:
    """Whether this is a share, or a list of them, one a round."""
    values = list(value) if isinstance(value, ListConfig) else [value]
    return bool(values) and all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v < math.inf for v in values)


def _check(merged: DictConfig) -> None:
    """What types cannot say.

    Raises:
        UserError: a value outside of its choices.
    """
    if not merged.prior.pools:
        raise UserError("prior.pools is empty", None, "choose among: paired, text")
    for pool in merged.prior.pools:
        if pool not in ("paired", "text"):
            raise UserError(f"prior.pools: {pool!r} is not open to the prior", None, "choose among: paired, text")
    for name, objective in merged.rounds.objectives.items():
        for stream, share in objective.mix.items():
            if not _schedule(share):
                where = f"rounds.objectives.{name}.mix.{stream}"
                raise UserError(f"{where}: {share!r}", None, "write a number from 0, or a list with one a round")
    for pool in merged.rounds.speak.speakers:
        if pool not in ("paired", "speech"):
            raise UserError(f"rounds.speak.speakers: {pool!r} has no speakers that training may use", None, "choose among: paired, speech")
    if not merged.rounds.speak.speakers:
        raise UserError("rounds.speak.speakers is empty", None, "choose among: paired, speech")
    choices: dict[str, tuple[str, ...]] = {
        "precision": ("auto", "32", "bf16"),
        "rounds.on_collapse": ("rollback", "stop"),
        "rounds.label.source": ("asr", "oracle"),
    }
    choices |= {f"{search}.method": METHODS for search in limits.SEARCHES}
    for key, allowed in choices.items():
        if OmegaConf.select(merged, key) not in allowed:
            raise UserError(f"{key}: {OmegaConf.select(merged, key)!r}", None, f"choose one of: {', '.join(allowed)}")
    if list(merged.models) not in (["asr"], ["asr", "tts"]):
        raise UserError(f"models: {list(merged.models)}", None, "write [asr, tts], or [asr] where nothing is to be spoken")
    if merged.aligner.subsample != 1:
        raise UserError(f"aligner.subsample: {merged.aligner.subsample}", None, "durations need 1")
    for pool in ("dev", "test") if merged.corpus.language == "captions" else ():
        if merged.pools[pool] == 1:
            raise UserError(f"pools.{pool}: 1", None, "write 2 or more: CIDEr-D compares clips")
    limits.check(flatten(OmegaConf.to_container(merged, resolve=True)))  # numbers that others refer to, too


@cache
def defaults() -> dict[str, Any]:
    """The settings of conf/base.yaml by dotted keys."""
    return flatten(read_yaml(ROOT / "conf/base.yaml"))


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"rounds.count": 3, ...}: what stamps compare."""
    if isinstance(value, dict) and value:
        return {k: v for key, sub in value.items() for k, v in flatten(sub, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
