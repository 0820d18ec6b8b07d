"""What an objective is: the pools it draws on, the models it moves, a loss."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

from torch import nn

from cycle.data.batch import Batch, Loss
from cycle.errors import UserError
from cycle.models.recognizer import Recognizer
from cycle.models.synthesizer import Synthesizer

Name = Literal["asr", "tts"]


@dataclass
class Models:
    """The pair in training."""

    asr: Recognizer
    tts: Synthesizer

    def modules(self, names: frozenset[str]) -> list[nn.Module]:
        return [getattr(self, f.name) for f in fields(self) if f.name in names]


class Objective(Protocol):
    """A loss on a batch.

    Attributes:
        trains: the models that it moves; the trainer freezes the rest.
    """

    trains: frozenset[Name]

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss: ...


def create(use: str, args: dict[str, Any], where: str) -> Objective:
    """Builds `package.module:Class` with keyword arguments.

    Raises:
        UserError: no such module, class or argument.
    """
    module, _, name = use.partition(":")
    try:
        made: Objective = getattr(importlib.import_module(module), name)(**args)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"use: {use!r} names no objective ({error})", where, "write package.module:Class") from error
    except TypeError as error:
        raise UserError(f"args of {use!r}: {error}", where) from error
    return made
