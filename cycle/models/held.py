"""What layers hold beside parameters and buffers: ESPnet's positions, and what its attention saw last."""

from __future__ import annotations

from torch import Tensor, nn


class Held:
    """The tensors that the layers of a model hold when it is new; what has come since can be let go of.

    Positions follow the type of whatever passes through, and a table that has once been of half precision stays a rounded one. A model that
    has seen work would compute otherwise than one that was opened just now, as after an interruption; and its last batch takes memory.
    """

    def __init__(self, model: nn.Module):
        self._layers = [(layer, _tensors(layer)) for layer in model.modules()]

    def restore(self) -> None:
        for layer, was in self._layers:
            for name in _tensors(layer).keys() - was.keys():
                setattr(layer, name, None)
            for name, value in was.items():
                if getattr(layer, name) is not value:
                    setattr(layer, name, value)


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in vars(layer).items() if isinstance(value, Tensor)}
