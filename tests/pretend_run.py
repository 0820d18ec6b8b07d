"""A whole run on a pretended GPU: `python -m tests.pretend_run run --exp EXP -- preset=smoke judge.model.layers=0 [graphs=true]`.

Prints how often the host waited for the device, by the lines that made it wait, the most frequent first. The judge goes without its
recurrent layer: torch packs sequences in another way on every kind of device.
"""

from __future__ import annotations

import sys

import torch

from cycle.__main__ import dispatch
from cycle.fabric import Fabric
from tests.pretend_device import DEVICE, device
from tests.pretend_graphs import Tape, graphs

SHOWN = 20


def main(words: list[str]) -> int:
    Fabric.device = property(lambda self: DEVICE)  # type: ignore[assignment, method-assign]
    on_host = torch.Generator
    torch.Generator = lambda device=None: on_host()  # type: ignore[assignment, misc]
    with device() as seen, graphs(seen):
        code = dispatch([*words[:1], "--device", "cpu", *words[1:]])
    print(f"{seen.operations} operations, {Tape.replays} replays of graphs")
    for line, count in seen.waits.most_common(SHOWN):
        print(f"{count:6d}  {line}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
