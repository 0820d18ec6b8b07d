"""CUDA graphs: a network is recorded once for each shape of its inputs, and replayed from then on.

Small models on short sentences are bound by the host, which gives a GPU a thousand small operations a step, one by one. A recording goes to
it as a whole. What it computes with is the memory that was recorded: numbers of the host that went into it, such as random ones, would stay
what they were (`is_steady`), and tensors that have been replaced since would be read where they lay (they are kept).

`torch.cuda.make_graphed_callables` does the same for whole modules, but holds on to the autograd graph it has recorded: every later
backward pass then waits for the recording's stream, parameter by parameter. And what it makes is freed by the garbage collector, which
spoils a recording that is being made.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from cycle.log import log

AFTER = 2  # times that a shape is computed step by step before it is recorded, which costs as much as some five steps
WARM = 3  # runs before a recording, in which libraries prepare themselves
MOST = 48  # recordings of a network; each holds a gradient of every parameter
MODE = "thread_local"  # other threads may pin memory meanwhile
DROPPING = ("layer_drop_rate", "stochastic_depth_rate", "attn_branch_drop_rate")  # the host draws which layers run
ASKING = ("gradient_checkpoint_layers", "use_flash_attn")  # these look at values, or at the state of the generator


def recordable(fabric: Fabric) -> bool:
    """Whether what runs here can be recorded: on a GPU, and by one process, since ranks talk to the GPU in threads."""
    if fabric.device.type != "cpu" and fabric.world_size > 1:
        log.warning("graphs: true replays in one process; %d ranks train step by step", fabric.world_size)
    return fabric.device.type != "cpu" and fabric.world_size == 1


def is_steady(model: nn.Module) -> bool:
    """Whether the layers of an ESPnet model do the same in every step, whatever the values."""
    dropping = any(getattr(module, rate, 0) > 0 for module in model.modules() for rate in DROPPING)
    return not dropping and not any(getattr(module, name, None) for module in model.modules() for name in ASKING)


class Pool:
    """Memory for recordings. What one gives back, another can have only if both were made on the same stream."""

    def __init__(self) -> None:
        self.handle, self.stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()


class Recording:
    """A network at one shape: its forward and backward pass as two CUDA graphs, and the memory that they read and write.

    Args:
        run: tensors to a tuple of tensors.
        params: whose gradients are wanted.
        pool: memory that recordings share, of one stream; only one of them may be between its forward and its backward pass.
    """

    def __init__(self, run: Callable[..., tuple[Tensor, ...]], params: Sequence[nn.Parameter], inputs: Sequence[Tensor], pool: Pool):
        self.inputs = [t.clone() for t in inputs]
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        here = torch.cuda.current_stream()
        pool.stream.wait_stream(here)
        try:
            self._record(run, params, pool)
        finally:
            torch.cuda.set_stream(here)  # a recording that failed may have left another
            here.wait_stream(pool.stream)

    def _record(self, run: Callable[..., tuple[Tensor, ...]], params: Sequence[nn.Parameter], pool: Pool) -> None:
        with torch.cuda.stream(pool.stream):
            for _ in range(WARM):
                made = run(*self.inputs)
                self._back(made, params, [torch.zeros_like(o) for o in made if o.requires_grad])
                del made
        with torch.cuda.graph(self.forward, pool.handle, pool.stream, MODE):
            made = run(*self.inputs)
        self.slopes = [torch.zeros_like(o) if o.requires_grad else None for o in made]
        with torch.cuda.graph(self.backward, pool.handle, pool.stream, MODE):
            self.grads = self._back(made, params, [s for s in self.slopes if s is not None])
        self.outputs = [o.detach() for o in made]

    @staticmethod
    def _back(made: Sequence[Tensor], params: Sequence[nn.Parameter], slopes: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad([o for o in made if o.requires_grad], params, slopes, allow_unused=True)


class _Replay(torch.autograd.Function):
    """Replays a recording; what comes out lies in its memory, gradients included."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, *params: nn.Parameter) -> tuple[Tensor, ...]:
        ctx.recording = recording
        recording.forward.replay()
        return tuple(o.detach() for o in recording.outputs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        recording = ctx.recording
        for mine, slope in zip(recording.slopes, slopes, strict=True):
            if mine is not None:
                mine.copy_(slope)
        recording.backward.replay()
        return (None, *[g if g is None else g.detach() for g in recording.grads])


class Graphs:
    """A function of a model and tensors to a tuple of tensors, recorded by shapes.

    What a replay leaves, gradients included, lies in memory that the next one writes over. So a call is replayed only if the gradient of
    the last one has been computed and used: no parameter has one. Others are computed step by step, and so is evaluation.

    Args:
        function: `function(model, *inputs)`; the inputs have no gradient.
        on: otherwise everything is computed step by step.
        near: models that may be computed together with this one: what they keep of a step leads to its parameters, too.

    Attributes:
        after: times that a shape is computed step by step before it is recorded.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], model: nn.Module, on: bool = True, near: Sequence[nn.Module] = ()):
        self.function, self.on, self.after = function, on, AFTER
        self.near = weakref.WeakSet(near)  # they hold this, and should be gone when nobody else holds them
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.seen, self.ready = Counter[Any](), dict[Any, Recording]()
        self._open: Callable[[], Any] = lambda: None  # the last replay, as long as nobody has gone back through it
        self._kept: list[Tensor] = []
        self._pool: Pool | None = None

    def __call__(self, model: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self._may(model, inputs):
            return self.function(model, *inputs)
        key = (torch.is_autocast_enabled("cuda"), *((t.shape, t.dtype) for t in inputs))
        if key not in self.ready and not self._recorded(key, model, inputs):
            return self.function(model, *inputs)
        recording = self.ready[key]
        for mine, new in zip(recording.inputs, inputs, strict=True):
            mine.copy_(new)
        out: tuple[Tensor, ...] = _Replay.apply(recording, *self.params)  # type: ignore[no-untyped-call]
        node = next(t.grad_fn for t in out if t.grad_fn is not None)
        self._open = weakref.ref(node)
        node.register_prehook(self._close)
        return out

    def _may(self, model: nn.Module, inputs: Sequence[Tensor]) -> bool:
        """Whether this is a call that can be replayed."""
        training = self.on and model.training and torch.is_grad_enabled() and not any(t.requires_grad for t in inputs)
        return training and self._open() is None and all(p.grad is None and p.requires_grad for p in self.params)

    def _close(self, _: Any) -> None:
        self._open = lambda: None

    def _recorded(self, key: Any, model: nn.Module, inputs: Sequence[Tensor]) -> bool:
        """Records a shape if its time has come, and if there is room."""
        self.seen[key] += 1
        if self.seen[key] <= self.after or len(self.ready) >= MOST:
            return False
        try:
            self.ready[key] = self._record(model, inputs)
            return True
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            why = _why_not(error)
        # Behind the handler: while it runs, the exception keeps the tensors of the attempt alive.
        log.warning("graphs: %s after %d recordings; going on step by step", why, len(self.ready))
        self.on, self._pool = False, None
        self.ready.clear()
        torch.cuda.empty_cache()
        return False

    def _record(self, model: nn.Module, inputs: Sequence[Tensor]) -> Recording:
        """The statistics of BatchNorm and the random numbers stay as they were."""
        on_gpu, buffers = inputs[0].is_cuda, list(model.buffers())
        before = [b.clone() for b in buffers]
        if self._pool is None:
            gc.collect()  # recordings of models that are gone
            self._pool = Pool()
        # Weights are cast within the recording: autocast's cache would hand over what lies outside of it.
        precision = torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), cache_enabled=False)
        try:
            with torch.random.fork_rng([inputs[0].device] if on_gpu else []), precision, _undisturbed((model, *self.near)):
                made = Recording(lambda *given: self.function(model, *given), self.params, inputs, self._pool)
        finally:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
        self._kept += [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor)]
        return made


def _why_not(error: RuntimeError) -> str:
    """Why nothing could be recorded, where training can go on without: too little memory, or CUDA refuses to record this.

    Raises:
        the error: it is another one.
    """
    said = str(error).partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in said:
        return "out of memory"
    if "captur" in said:  # CUDA's word for recording, in all of its refusals
        return said
    raise error


@contextlib.contextmanager
def _undisturbed(models: Sequence[nn.Module]) -> Iterator[None]:
    """Nothing is freed while a recording is made, and no autograd graph of these models is alive before and after it.

    Of those graphs, the ones that others hold are theirs to let go: an objective that computed something else of the model, with gradient,
    before its loss.

    A graph that is alive (ESPnet's attention keeps its weights for figures) hands its parameters' nodes on to the next one, and these
    belong to the stream in which they were made: the recording would wait for that stream, which CUDA refuses.
    """
    _let_go(models)
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
        _let_go(models)


def _let_go(models: Sequence[nn.Module]) -> None:
    for module in (module for model in models for module in model.modules()):
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                setattr(module, name, None)
