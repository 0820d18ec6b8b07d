"""A module in training: its optimizer, its averaged weights, and what an update does to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cycle.fabric import Fabric
from cycle.models.graphs import joined
from cycle.settings import Optimizer


def learning_rate(step: int, updates: int, conf: Optimizer) -> float:
    """Linear warm-up, then a cosine down to `floor * lr`."""
    warm = max(1, round(conf.warmup * updates))
    if step < warm:
        return conf.lr * (step + 1) / warm
    progress = (step - warm) / max(1, updates - warm)
    return conf.lr * (conf.floor + (1 - conf.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def _joined(tensors: Sequence[Any]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors]) if tensors else torch.empty(0)


def _apart(vector: Tensor, shapes: Sequence[Tensor]) -> list[Tensor]:
    """A vector's memory in the shapes of these tensors."""
    pieces = vector.detach().split([t.numel() for t in shapes])
    return [piece.view_as(t) for piece, t in zip(pieces, shapes, strict=True)]


class Part:
    """A module with its optimizer.

    The optimizer works on one long vector, `weights`, of which the parameters are copies. A small model has hundreds of parameters, and
    what the host does for each of them in each step (clipping, grouping, averaging) would take longer than a GPU's work on them. The
    parameters stay where they are: recurrent layers and recordings of CUDA graphs count on that.
    """

    def __init__(self, name: str, module: nn.Module, conf: Optimizer):
        self.name, self.module, self.conf = name, module, conf
        self.params = [p for p in module.parameters() if p.requires_grad]
        self.weights = nn.Parameter(_joined(self.params))
        self.views = _apart(self.weights, self.params)
        self.reached = [False] * len(self.params)  # by a gradient
        self.optimizer = torch.optim.AdamW([self.weights], lr=conf.lr, weight_decay=conf.weight_decay, betas=(0.9, 0.98), fused=True)
        self.statistics = [b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
        self.average = [self.weights.detach().clone(), *[b.clone() for b in self.statistics]]
        self.before = _joined(self.statistics)  # the step
        self.graphs = [g for g in getattr(module, "graphs", {}).values() if list(map(id, g.params)) == list(map(id, self.params))]
        for graphs in self.graphs:  # whose replays give `weights` their gradient
            graphs.whole, graphs.reached = self.weights, [False] * len(self.params)
        self.forget()

    def forget(self) -> None:
        """Nothing has a gradient."""
        self.weights.grad = None
        for param in self.params:
            param.grad = None

    def has_gradient(self) -> bool:
        return self.weights.grad is not None or any(p.grad is not None for p in self.params)

    @torch.no_grad()
    def step(self, step: int, updates: int, fabric: Fabric) -> Tensor:
        """Clips, updates, averages, forgets the gradient; one that is not finite moves no weight and no running statistic. The host does
        not wait for the device.

        The gradients of all ranks are summed. A parameter without one counts as zero; in one process it stays as it is if it never had any.

        Returns:
            the gradient's norm.
        """
        self.weights.grad = self._gradient(fabric)
        norm = nn.utils.clip_grad_norm_([self.weights], self.conf.clip)
        bad = ~torch.isfinite(norm)
        self.optimizer.found_inf = bad.float()  # the fused step looks at it on the device
        self.optimizer.param_groups[0]["lr"] = learning_rate(step, updates, self.conf)
        self.optimizer.step()
        self.forget()
        self._hand_over()
        self._keep_statistics(bad)
        decay = min(self.conf.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.average, [self.weights.detach(), *self.statistics], 1 - decay)
        return norm

    def _gradient(self, fabric: Fabric) -> Tensor:
        several = fabric.world_size > 1  # some rank may have what this one lacks
        self.reached = [was or several or p.grad is not None for was, p in zip(self.reached, self.params, strict=True)]
        if not all(self.reached):
            for graphs in self.graphs:
                self.reached = [was or there for was, there in zip(self.reached, graphs.reached, strict=True)]
        whole: Any = self.weights.grad  # of replays
        if whole is None or any(p.grad is not None for p in self.params):
            others = joined([p.grad for p in self.params], self.params)
            whole = others if whole is None else whole + others
        return fabric.all_reduce(whole, reduce_op="sum") if several else whole  # type: ignore[return-value]

    def _hand_over(self) -> None:
        """The parameters become what the weights are. Where nothing has reached them, weight decay is taken back."""
        if not all(self.reached):
            kept = [n for n, reached in enumerate(self.reached) if not reached]
            torch._foreach_copy_([self.views[n] for n in kept], [self.params[n] for n in kept])
        torch._foreach_copy_(self.params, self.views)

    def _keep_statistics(self, bad: Tensor) -> None:
        """What a step that is not finite has left in BatchNorm is taken back: it would stay for good."""
        if self.statistics:
            self.before = torch.where(bad, self.before, _joined(self.statistics))
            torch._foreach_copy_(self.statistics, _apart(self.before, self.statistics))

    def state(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "reached": self.reached,
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.weights.copy_(_joined(self.params))
        self.before = _joined(self.statistics)
        self.optimizer.load_state_dict(state["optimizer"])
        self.reached = state["reached"]
        for mine, saved in zip(self.average, state["average"], strict=True):
            mine.copy_(saved)

    @torch.no_grad()
    def finish(self, fabric: Fabric) -> None:
        """Puts the averaged weights, and the statistics of BatchNorm that belong to them (the mean of all ranks), in place."""
        average: list[Any] = [fabric.all_reduce(a, reduce_op="mean") if fabric.world_size > 1 else a for a in self.average]
        torch._foreach_copy_(self.params, _apart(average[0], self.params))
        for mine, mean in zip(self.statistics, average[1:], strict=True):
            mine.copy_(mean)
        for graphs in self.graphs:
            graphs.whole = None
        self.module.eval()
