"""What an objective is: the pools it draws on, the models it moves, a loss."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from cycle.data import kaldi
from cycle.data.batch import Batch, Loss
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.models.frame_ctc import FrameCTC
from cycle.models.ngram import NGram
from cycle.models.pair import open_aligner, open_asr, open_tts
from cycle.models.recognizer import Recognizer
from cycle.models.synthesizer import Synthesizer

Name = Literal["asr", "tts"]


@dataclass
class Models:
    """The pair in training."""

    asr: Recognizer
    tts: Synthesizer


class Origin:
    """What a round starts from, for objectives that need more than the pair in training: opened when first asked for, frozen, without
    training noise, and shared: nobody may move it.

    A resumed round reads it from the same folder again, so it never follows the weights in training.

    Attributes:
        updates: how many the round has.
        language: how its texts are spelled.
        models: which are trained.
    """

    def __init__(self, exp: Experiment, folder: Path, device: torch.device):
        self.exp, self.folder, self.device = exp, folder, device
        self.updates, self.language = exp.config.rounds.updates, exp.config.corpus.language
        self.models = frozenset(exp.config.models)

    @cached_property
    def asr(self) -> Recognizer:
        return open_asr(self.exp, self.folder, self.device).requires_grad_(False)

    @cached_property
    def tts(self) -> Synthesizer:
        return open_tts(self.exp, self.folder, self.device).requires_grad_(False)

    @cached_property
    def aligner(self) -> FrameCTC:
        return open_aligner(self.exp, self.device).requires_grad_(False)

    @cached_property
    def references(self) -> dict[str, list[str]]:
        """All texts of every utterance of the paired pool, spelled."""
        return kaldi.read_references(self.exp.data("paired"))

    @cached_property
    def prior(self) -> NGram:
        return NGram.load(self.exp.prior)


class Objective(Protocol):
    """A loss on a batch.

    Attributes:
        trains: the models that it moves; the trainer freezes the rest.

    An objective may also have

    - `streams: frozenset[str]`: those that it can learn from; others are refused;
    - `needs_texts: bool`: without texts (anybody's) it has nothing to learn from, and rounds of streams that have none are refused;
    - `needs_labels: bool`: it reads N-best lists with probabilities, and other streams than `labelled` are refused;
    - `lists: bool`: it reads N-best lists where a stream has them, and those (`speech`, `labelled`) are mixed with no others;
    - `graphs: bool`: its loss is one that models can replay (CUDA graphs), so that its batches should have few shapes;
    - `begin(origin: Origin)`: called once before the first update, at a resume too; raises UserError where it cannot work;
    - `state() -> dict` and `load(state)`: what it must remember over an interruption, as tensors, numbers and strings.
    """

    trains: frozenset[Name]

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        """The loss; one of weight 0 says that the batch has nothing to learn from, and no gradient is asked of it."""
        ...


def begin(objectives: Iterable[Objective], origin: Origin) -> None:
    """Tells the objectives that want to know what the round starts from."""
    for objective in objectives:
        if hasattr(objective, "begin"):
            objective.begin(origin)


def nothing(device: torch.device, stats: dict[str, float | Tensor]) -> Loss:
    """The loss of a batch that has nothing to learn from."""
    return Loss(torch.zeros((), device=device), 0, stats)


def chosen(trains: Iterable[str]) -> frozenset[Name]:
    """The models that a recipe lets an objective move; the others are frozen.

    Raises:
        UserError: none, or one that it cannot move.
    """
    names = [trains] if isinstance(trains, str) else list(trains)
    if not names or not set(names) <= set(get_args(Name)):
        raise UserError(f"trains: {', '.join(names) or 'nothing'}", "args", f"choose among: {', '.join(get_args(Name))}")
    return frozenset(names)  # type: ignore[arg-type]


def _refuse_strangers(kind: Any, args: dict[str, Any], where: str) -> None:
    """Raises UserError for the first argument that a class does not take, at its own place."""
    try:
        known = inspect.signature(kind).parameters
    except (TypeError, ValueError):  # no class of Python's own; calling it will tell
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in args:
        if name not in known:
            remedy = f"choose among: {', '.join(known)}" if known else "leave it out"
            raise UserError(f"{getattr(kind, '__name__', kind)} takes no argument {name!r}", f"{where}.{name}", remedy)


def create(use: str, args: dict[str, Any], where: str) -> Objective:
    """Builds `package.module:Class` with keyword arguments.

    Raises:
        UserError: no such module, class or argument.
    """
    module, _, name = use.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except SyntaxError as error:
        raise UserError(f"is no Python ({error.msg})", f"{error.filename}:{error.lineno}", f"mend it: {where} uses it") from error
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"use: {use!r} names no objective ({error})", where, "write package.module:Class") from error
    _refuse_strangers(kind, args, f"{where}.args")
    try:
        made: Objective = kind(**args)
    except UserError as error:  # it knows its arguments, not where they stand
        raise UserError(error.what, f"{where}.args", error.remedy) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"args of {use!r}: {error}", where) from error
    trains = getattr(made, "trains", None)
    if not callable(made) or not isinstance(trains, (set, frozenset)) or not trains or not trains <= set(get_args(Name)):
        raise UserError(f"use: {use!r} is no objective", where, "it must be callable, and `trains` a set of asr and tts")
    if not isinstance(getattr(made, "streams", frozenset()), (set, frozenset)):
        raise UserError(f"use: {use!r}: its streams are no set", where, "write frozenset({'paired'})")
    return made
