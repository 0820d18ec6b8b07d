"""A GPU for machines that have none: a device whose tensors the host cannot touch, and that counts how often the host waits for it.

What runs inside `device()` computes on the host, but its tensors carry a device of their own. So code that would fail on a GPU fails here
(tensors of both sides in one operation, `numpy()` of a tensor on the device), and every question that would make the host wait for a GPU is
counted with the line that asks it: values brought to the host, copies to the device that block, shapes that depend on values.

Not covered: what a kernel of the GPU refuses or computes otherwise, or waits for by itself (CTC's excepted), memory, recurrent layers.
"""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.random import fork_rng
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from cycle.config import ROOT

backend_registration._setup_privateuseone_for_python_backend("pretend")
DEVICE = torch.device("pretend:0")
HOST = torch.device("cpu")

# Operations of which the host must know a result before it can go on.
ASKING = {
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
    "bincount",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
JOINING = {"cat", "stack"}  # of which even a single number must lie on the device
LENGTHS = {"_ctc_loss": slice(2, 4), "_ctc_loss_backward": slice(3, 5)}  # arguments that torch fetches where they are not on the host
# Copies that CUDA's CTC loss makes by itself, each blocking: lengths and offsets, and forward the targets, for a look whether another
# library could serve.
OF_CTC = {"_ctc_loss": 4, "_ctc_loss_backward": 3}


class Held(torch.Tensor):
    """A tensor on the device; `raw` is what it holds, on the host."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Held:
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=DEVICE
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the pretended device")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.cpu(), spec)

    def __repr__(self, **options: Any) -> str:
        return f"Held({self.raw})"

    def numpy(self, **options: Any) -> Any:
        raise TypeError("a tensor on the device is no array; call cpu() first")

    def new(self, *args: Any) -> torch.Tensor:
        if len(args) == 1 and isinstance(args[0], (list, tuple)):
            return torch.tensor(args[0], dtype=self.dtype, device=DEVICE)
        return torch.empty(*args, dtype=self.dtype, device=DEVICE)


def leaves(value: Any) -> Iterator[Any]:
    """What arguments or results of an operation consist of. torch's own trees hold more than lists, and take longer than operations."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from leaves(each)
    else:
        yield value


@functools.cache
def _about(func: Any) -> tuple[str, bool]:
    """The name of an operation, and whether it only looks at a tensor in another way."""
    alias = [result.alias_info for result in func._schema.returns]
    return func._schema.name.removeprefix("aten::"), any(known is not None and not known.is_write for known in alias)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    return type(value)(_mapped(change, each) for each in value) if isinstance(value, (list, tuple)) else change(value)


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, Held) else value


class Pretended(TorchDispatchMode):
    """Sends what concerns the device there.

    Attributes:
        own_noise: it has a generator of its own, as a GPU has; otherwise it draws the numbers that the host would draw.
        waits: how often the host waited, by the line of ours that made it wait (of ESPnet or torch where it is none of ours).
        operations: how many the device was given, without those that only look at a tensor in another way.
    """

    def __init__(self, own_noise: bool = False) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.operations = 0
        self.recording: Any = None  # of pretend_graphs
        self.stream: Any = None  # the one in use, of pretend_graphs; None is that of all computing
        self.noise = torch.get_rng_state() if own_noise else None

    def forget(self) -> None:
        """Counts from nought."""
        self.waits.clear()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name, looks = _about(func)
        tensors = [t for t in leaves((args, tuple(kwargs.values()))) if isinstance(t, torch.Tensor)]
        held = [t for t in tensors if isinstance(t, Held)]
        wanted = kwargs.get("device")
        target = torch.device(wanted) if wanted is not None else DEVICE if held else HOST
        if not held and target.type != DEVICE.type:
            return func(*args, **kwargs)
        self.operations += not looks
        if name in ("_to_copy", "copy_"):
            target = self._copy(name, args, kwargs, target)
        else:
            self._look(name, args, held, [t for t in tensors if not isinstance(t, Held) and (t.dim() or name in JOINING)])
        if name in ("_local_scalar_dense", "equal", "is_nonzero"):
            target = HOST
        if name == "_fused_sdp_choice":
            return 0  # attention by its formula
        if target.type == DEVICE.type and wanted is not None:
            kwargs["device"] = HOST
        given = _mapped(_raw, args), {key: _mapped(_raw, value) for key, value in kwargs.items()}
        if self.recording is not None and (target.type != DEVICE.type or len(held) < len(tensors)):
            raise RuntimeError(f"{name}: the host is asked, or asks, while a graph is recorded")
        out = self.compute(func, *given)
        if self.recording is not None:
            self.recording.add(func, *given, out, held)
        if target.type != DEVICE.type:
            return out
        known = {id(t.raw): t for t in held}  # what is computed in place comes back as it is

        def hold(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return known[id(value)] if id(value) in known else Held(value)

        return _mapped(hold, out)

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.noise is None or torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        with fork_rng([]):
            torch.set_rng_state(self.noise)
            out = func(*args, **kwargs)
            self.noise = torch.get_rng_state()
        return out

    def _copy(self, name: str, args: Any, kwargs: dict[str, Any], target: torch.device) -> torch.device:
        """Counts a copy between the sides; returns where it goes."""
        source, free = args[0], kwargs.get("non_blocking", False)
        if name == "copy_":
            target, source, free = args[0].device, args[1], len(args) > 2 and args[2]
        if source.device.type != target.type and (target.type == "cpu" or not free):
            self._wait()
        return target

    def _look(self, name: str, args: Any, held: list[Held], strangers: list[torch.Tensor]) -> None:
        """Counts a question; refuses tensors of both sides in one operation, as a GPU does."""
        masks = name in INDEXING and any(t.dtype == torch.bool for t in leaves(args[1]) if isinstance(t, torch.Tensor))
        if name in ASKING or masks or (name == "repeat_interleave" and len(args) == 1):
            self._wait()
        if name == "multinomial" and args[1] == 1:
            self._wait()  # torch makes sure that these are probabilities: no infinity, nothing below nought, a sum
            self._wait()
        if name in ("masked_fill", "masked_fill_") and isinstance(args[2], Held):
            self._wait()  # torch fetches the value
        if name in LENGTHS:
            lengths = args[LENGTHS[name]]
            if any(isinstance(each, torch.Tensor) and not isinstance(each, Held) for each in lengths):
                raise RuntimeError(f"{name}: lengths that are tensors of the host, which CUDA refuses while operations are watched")
            for _ in range(OF_CTC[name] + sum(isinstance(each, Held) for each in lengths)):
                self._wait()
        elif held and strangers:
            if name in INDEXING and isinstance(args[0], Held):
                self._wait()  # torch sends the indices along
            else:
                raise RuntimeError(f"{name}: tensors on the host and on the device together")

    def _wait(self) -> None:
        frames = [f for f in traceback.extract_stack() if not f.filename.endswith(Path(__file__).name)]
        ours = [f for f in frames if f.filename.startswith(str(ROOT / "cycle"))]
        at = (ours or frames)[-1]
        self.waits[f"{Path(at.filename).name}:{at.lineno} {at.line}"] += 1


@contextlib.contextmanager
def device(own_noise: bool = False) -> Iterator[Pretended]:
    """Inside the block, `DEVICE` works like a GPU."""

    def sending(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Makes a tensor of numbers as torch does, on the host, and sends it, blocking; torch's own way cannot be looked at."""

        def made(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
            if isinstance(data, torch.Tensor):
                return make(data, device=device, **options)
            value = make(data, **options)
            return value if device is None or torch.device(device).type == "cpu" else value.to(device)

        return made

    with pytest.MonkeyPatch.context() as patch, Pretended(own_noise) as pretended:
        for name in ("tensor", "as_tensor"):
            patch.setattr(torch, name, sending(getattr(torch, name)))
        yield pretended
