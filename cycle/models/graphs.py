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
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cycle.fabric import Fabric
from cycle.log import log

AFTER = 1  # times that a shape is computed step by step before it is recorded, which costs as much as some three steps
MOST = 48  # recordings of a network; each holds a gradient of every parameter
MODE = "thread_local"  # other threads may pin memory meanwhile
DROPPING = ("layer_drop_rate", "stochastic_depth_rate", "attn_branch_drop_rate")  # the host draws which layers run
ASKING = ("gradient_checkpoint_layers", "use_flash_attn")  # these look at values, or at the state of the generator

type Recorded = Callable[..., tuple[Tensor, ...]]
type Stepwise = Callable[[], tuple[Tensor, ...]]


def recordable(fabric: Fabric) -> bool:
    """Whether what runs here can be recorded: on a GPU, and by one process, since ranks talk to the GPU in threads."""
    if fabric.device.type != "cpu" and fabric.world_size > 1:
        log.info("graphs: true replays in one process; %d ranks train step by step", fabric.world_size)
    return fabric.device.type != "cpu" and fabric.world_size == 1


def is_steady(model: nn.Module) -> bool:
    """Whether the layers of an ESPnet model do the same in every step, whatever the values."""
    dropping = any(getattr(module, rate, 0) > 0 for module in model.modules() for rate in DROPPING)
    return not dropping and not any(getattr(module, name, None) for module in model.modules() for name in ASKING)


class Pool:
    """Memory for recordings. What one gives back, another can have only if both were made on the same stream."""

    def __init__(self) -> None:
        self.handle, self.stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    @contextlib.contextmanager
    def recording(self, graph: Any) -> Iterator[None]:
        """What `torch.cuda.graph` does, which also waits for the GPU and gives all unused memory back, to be asked for again."""
        with torch.cuda.stream(self.stream):
            graph.capture_begin(self.handle, capture_error_mode=MODE)
            try:
                yield
            finally:
                graph.capture_end()


class Recording:
    """A network at one shape: its forward and backward pass as two CUDA graphs, and the memory that they read and write.

    Args:
        run: tensors to a tuple of tensors.
        params: whose gradients are wanted, beside those of the inputs that have one.
        pool: memory that recordings share, of one stream; only one of them may be between its forward and its backward pass.
        whole: gradients of the parameters come end to end, in one vector.

    Attributes:
        reached: whether a gradient gets to each of the parameters.
    """

    def __init__(
        self, run: Recorded, params: Sequence[Tensor], inputs: Sequence[Tensor], pool: Pool, whole: bool = False
    ):  # fmt: skip
        self.whole, self.params = whole, params
        self.inputs = [t.detach().clone().requires_grad_(t.requires_grad) for t in inputs]
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        here = torch.cuda.current_stream()
        pool.stream.wait_stream(here)
        try:
            self._record(run, pool)
        finally:
            torch.cuda.set_stream(here)  # a recording that failed may have left another
            here.wait_stream(pool.stream)

    def _record(self, run: Recorded, pool: Pool) -> None:
        with torch.cuda.stream(pool.stream):  # once before, since libraries prepare themselves at a first time
            made = run(*self.inputs)
            self._back(made, [torch.zeros_like(o) for o in made if o.requires_grad])
            del made
        with pool.recording(self.forward):
            made = run(*self.inputs)
        self.slopes = [torch.zeros_like(o) if o.requires_grad else None for o in made]
        with pool.recording(self.backward):
            self.grads = self._back(made, [s for s in self.slopes if s is not None])
        self.outputs = [o.detach() for o in made]

    def _back(self, made: Sequence[Tensor], slopes: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        wanted = [*self.params, *(t for t in self.inputs if t.requires_grad)]
        grads = torch.autograd.grad([o for o in made if o.requires_grad], wanted, slopes, allow_unused=True)
        mine, others = grads[: len(self.params)], grads[len(self.params) :]
        self.reached = [g is not None for g in mine]
        return (joined(mine, self.params), *others) if self.whole else grads


class _Replay(torch.autograd.Function):
    """Replays a recording; what comes out lies in its memory, gradients included."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, *wanted: Tensor) -> tuple[Tensor, ...]:
        ctx.recording = recording
        recording.forward.replay()
        out = tuple(o.detach() for o in recording.outputs)
        ctx.mark_non_differentiable(*(o for o, slope in zip(out, recording.slopes, strict=True) if slope is None))
        return out

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

    What a replay leaves, gradients included, lies in memory that the next one writes over. So a call is replayed only if the last one's
    gradient has been computed and used: no parameter has it. Others are computed step by step, and so is what needs no gradient.

    Args:
        function: `function(model, *inputs)`.
        on: otherwise everything is computed step by step.

    Attributes:
        after: times that a shape is computed step by step before it is recorded.
        whole: a vector of all parameters, end to end, which gets their gradient; None: each parameter gets its own. Autograd takes a few
            milliseconds of the host to hand hundreds of them on.
        reached: by a gradient of a replay, each of the parameters.
    """

    def __init__(self, function: Recorded, model: nn.Module, on: bool = True):
        self.function, self.on, self.after = function, on, AFTER
        self.params = list(model.parameters())
        self.seen, self.ready = Counter[Any](), dict[Any, Recording]()
        self._open: Callable[[], Any] = lambda: None  # the last replay, as long as nobody has gone back through it
        self.whole: nn.Parameter | None = None
        self.reached = [False] * len(self.params)
        self._lent = set[int]()  # where the gradients of the last replay lie
        self._kept: list[Tensor] = []
        self._pool: Pool | None = None

    def __call__(self, model: nn.Module, *inputs: Tensor, otherwise: Stepwise | None = None) -> tuple[Tensor, ...]:
        """What the function returns.

        Args:
            otherwise: returns it too, step by step, where nothing is replayed; None: the function itself does.
        """
        stepwise = otherwise or partial(self.function, model, *inputs)
        params = [p for p in self.params if p.requires_grad]
        own = [t for t in inputs if t.requires_grad]
        if not params + own or len(params) not in (0, len(self.params)) or not self._may():
            return stepwise()
        whole = self.whole if params else None
        shapes = ((t.shape, t.dtype, t.requires_grad) for t in inputs)
        key = (torch.is_autocast_enabled("cuda"), model.training, len(params), whole is not None, *shapes)
        if key not in self.ready and not self._recorded(key, model, params, inputs, whole is not None):
            return stepwise()
        recording = self.ready[key]
        if whole is not None:
            self.reached = [was or now for was, now in zip(self.reached, recording.reached, strict=True)]
        with torch.no_grad():
            for mine, new in zip(recording.inputs, inputs, strict=True):
                mine.copy_(new)
        out: tuple[Tensor, ...] = _Replay.apply(recording, *(params if whole is None else [whole]), *own)  # type: ignore[no-untyped-call]
        node = next(t.grad_fn for t in out if t.grad_fn is not None)
        self._open, self._lent = weakref.ref(node), {place(g) for g in recording.grads if g is not None}
        node.register_prehook(self._close)
        return out

    def _may(self) -> bool:
        """Whether this is a call that can be replayed."""
        free = self.on and torch.is_grad_enabled() and self._open() is None
        holders = self.params if self.whole is None else [*self.params, self.whole]
        return free and not any(p.grad is not None and place(p.grad) in self._lent for p in holders)

    def _close(self, _: Any) -> None:
        self._open = lambda: None

    def _recorded(self, key: Any, model: nn.Module, params: Sequence[nn.Parameter], inputs: Sequence[Tensor], whole: bool) -> bool:
        """Records a shape if its time has come, and if there is room."""
        self.seen[key] += 1
        if self.seen[key] <= self.after or len(self.ready) >= MOST:
            return False
        try:
            self.ready[key] = self._record(model, params, inputs, whole)
            return True
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            why = _why_not(error)
        # Behind the handler: while it runs, the exception keeps the tensors of the attempt alive.
        log.warning("graphs: %s after %d recordings; going on step by step", why, len(self.ready))
        self.on, self._pool = False, None
        self.ready.clear()
        torch.cuda.empty_cache()
        return False

    def _record(self, model: nn.Module, params: Sequence[nn.Parameter], inputs: Sequence[Tensor], whole: bool) -> Recording:
        """The statistics of BatchNorm and the random numbers stay as they were."""
        on_gpu, buffers = inputs[0].is_cuda, list(model.buffers())
        before = [b.clone() for b in buffers]
        if self._pool is None:
            gc.collect()  # recordings of models that are gone
            torch.cuda.empty_cache()  # a recording cannot have what large batches of an exchange have left
            self._pool = Pool()
        # Weights are cast within the recording: autocast's cache would hand over what lies outside of it.
        precision = torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), cache_enabled=False)
        try:
            with torch.random.fork_rng([inputs[0].device] if on_gpu else []), precision, _undisturbed(model), _leaves(model) as own:
                mine = [own[p] for p in params]
                self._kept += own.values()  # those of frozen parameters, too
                made = Recording(lambda *given: self.function(model, *given), mine, inputs, self._pool, whole)
        finally:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
        self._kept += [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor)]
        return made


def joined(grads: Sequence[Tensor | None], params: Sequence[Tensor]) -> Tensor:
    """Gradients end to end, zeros where there is none."""
    return torch.cat([(p.new_zeros(()).expand(p.shape) if g is None else g).flatten() for g, p in zip(grads, params, strict=True)])


def place(tensor: Tensor) -> int:
    """Where a tensor lies; those of the same memory are at the same place."""
    return tensor.data_ptr()


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
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Nothing is freed by chance while a recording is made. What the layers keep of a step (ESPnet's attention keeps its weights for
    figures) is let go of before it and after it."""
    _let_go(model)
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
        _let_go(model)


def _let_go(model: nn.Module) -> None:
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                setattr(module, name, None)


@contextlib.contextmanager
def _leaves(model: nn.Module) -> Iterator[dict[nn.Parameter, nn.Parameter]]:
    """Inside the block, a model computes with other parameters in the same memory, which are those of the recording.

    A gradient reaches a parameter by a node that belongs to the stream in which it was made, and lives as long as anything that was
    computed with gradient: a recording would wait for that stream, which CUDA refuses.
    """
    places = [(module._parameters, name, p) for module in model.modules() for name, p in module._parameters.items() if p is not None]
    own = {p: nn.Parameter(p.detach(), p.requires_grad) for _, _, p in places}
    try:
        for held, name, p in places:
            held[name] = own[p]
        yield own
    finally:
        for held, name, p in places:
            held[name] = p
