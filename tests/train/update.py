"""What an update costs the host: `python -m tests.train.update`. Prints one JSON line, processor time in milliseconds.

The recogniser of conf/asr/conformer.yaml, with layers so narrow that computing takes no time: what is left is what the host does for each
of its parameters. `one_by_one` is torch's clipping and AdamW with an average over the parameters themselves, `joined` is `Part.step`.
"""

import json
import time
from collections.abc import Callable

import torch
from torch import nn

from cycle.config import load
from cycle.device import fabric
from cycle.models.pair import build_asr
from cycle.models.vocabulary import Vocabulary
from cycle.settings import Optimizer
from cycle.train.part import Part

NARROW = ["asr.conf.encoder_conf.output_size=8", "asr.conf.encoder_conf.linear_units=8", "asr.conf.decoder_conf.linear_units=8"]
UPDATES, REPEAT = 50, 5
CONF = Optimizer()


def one_by_one(module: nn.Module) -> Callable[[int], None]:
    params = [p for p in module.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(params, lr=CONF.lr, weight_decay=CONF.weight_decay, betas=(0.9, 0.98), fused=True)
    average = [p.detach().clone() for p in params]

    def update(step: int) -> None:
        norm = nn.utils.clip_grad_norm_(params, CONF.clip)
        adam.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        adam.step()
        torch._foreach_lerp_(average, [p.detach() for p in params], 0.01)
        adam.zero_grad(set_to_none=True)

    return update


def joined(module: nn.Module) -> Callable[[int], None]:
    part, here = Part("asr", module, CONF), fabric("cpu", "32")

    def update(step: int) -> None:
        part.step(step, UPDATES, here)

    return update


def milliseconds(module: nn.Module, update: Callable[[int], None]) -> float:
    """Of the quickest of some runs."""
    found = []
    for _ in range(REPEAT):
        spent = 0.0
        for step in range(UPDATES):
            for param in module.parameters():
                param.grad = torch.ones_like(param)
            start = time.process_time()
            update(step)
            spent += time.process_time() - start
        found.append(1000 * spent / UPDATES)
    return round(min(found), 2)


def main() -> None:
    torch.set_num_threads(1)
    conf, vocabulary = load("mini", "cycle", NARROW, "cuda"), Vocabulary(["<blank>", "<unk>", "a", "b", "<sos/eos>"])
    module = build_asr(conf, vocabulary).train()
    count = sum(1 for _ in module.parameters())
    times = {way.__name__: milliseconds(module, way(module)) for way in (one_by_one, joined)}
    print(json.dumps({"parameters": count, **times}))


if __name__ == "__main__":
    main()
