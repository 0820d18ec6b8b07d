"""Models on disk in ESPnet's own form: `config.yaml` and `model.pth`, which stock ESPnet opens unchanged."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cycle.config import model_file
from cycle.errors import UserError
from cycle.files import atomic_write, write_yaml
from cycle.settings import Model
from cycle.yaml_file import read_yaml

# What a model is built from; the rest of ESPnet's keys is about features and training.
BUILDS = {"encoder", "decoder", "model", "ctc", "specaug", "preencoder", "postencoder", "joint_net", "init", "tts", "token_list"}


def plain(value: Any) -> Any:
    """A configuration value without tuples and paths, so that a safe loader reads it back."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def model_conf(conf: Model) -> dict[str, Any]:
    """The ESPnet YAML that a configuration names, with its changes laid over.

    Raises:
        UserError: no such file.
    """
    path = model_file(conf.config)
    if not path.is_file():
        raise UserError("no such model configuration", conf.config or "asr.config", "name a file of conf/asr or conf/tts")
    return OmegaConf.to_container(OmegaConf.merge(read_yaml(path), conf.conf))  # type: ignore[return-value]


def task_args(task: Any, conf: dict[str, Any], where: str) -> argparse.Namespace:
    """ESPnet's default arguments of a task with ours over them.

    The defaults carry the `*_conf` of ESPnet's default classes: where the class changes, they are dropped, not merged.

    Raises:
        UserError: a key that ESPnet does not know.
    """
    defaults = _defaults(task)
    unknown = sorted(set(conf) - set(defaults))
    if unknown:
        raise UserError(f"unknown key {unknown[0]!r}", where, "the keys are those of ESPnet's own training YAML")
    dropped: dict[str, Any] = {f"{k}_conf": {} for k, v in conf.items() if f"{k}_conf" in defaults and v != defaults[k]}
    return argparse.Namespace(**{**defaults, **dropped, **conf})


def idle(task: Any, conf: dict[str, Any]) -> list[str]:
    """The keys of an ESPnet YAML that change something in ESPnet's own training, and nothing here."""
    defaults = _defaults(task)
    return sorted(k for k, v in conf.items() if k.removesuffix("_conf") not in BUILDS and k in defaults and v != defaults[k])


def _defaults(task: Any) -> dict[str, Any]:
    """ESPnet asks its parser for the defaults, and the parser reads the command line: ours must not be there."""
    argv, sys.argv = sys.argv, sys.argv[:1]
    try:
        return dict(task.get_default_config())
    finally:
        sys.argv = argv


def save(folder: Path, module: nn.Module, args: argparse.Namespace | dict[str, Any]) -> None:
    """Writes `config.yaml` and `model.pth`."""
    values = args if isinstance(args, dict) else vars(args)
    write_yaml(folder / "config.yaml", plain(values))
    with atomic_write(folder / "model.pth", "wb") as handle:
        torch.save({k: v.detach().cpu() for k, v in module.state_dict().items()}, handle)


DRAWING = {Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}  # that pass through a mode


class Unfilled(TorchFunctionMode):
    """Inside, models are built without the random numbers that a checkpoint will replace: they take longer than all the rest."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills a module from a checkpoint.

    Raises:
        UserError: missing, unreadable, or made for another model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except FileNotFoundError as error:
        raise UserError("no such checkpoint", path) from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint of this model
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"is no checkpoint of this model ({said})", path, "remove it or name the right one") from error
