"""A pool through a model: batches by length and filled by frames, read ahead, results in the pool's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from cycle.data.batch import Batch
from cycle.device import Later
from cycle.log import log, progress
from cycle.train.collate import collate
from cycle.train.streams import Stream, by_frames

AHEAD = 2  # batches read while one is at work

type Work[T] = Callable[[list[int], Batch], Sequence[T] | Later[Sequence[T]]]


def sweep[T](stream: Stream, budget: int, device: torch.device, title: str, work: Work[T], pitch: bool = False) -> list[T]:
    """Maps every utterance of a stream, in batches of similar length.

    Args:
        budget: padded frames in a batch.
        title: of the progress bar.
        work: gets places in the stream and their batch on the device; returns one value each, or what waits for them. The latter is called
            when the next batch has been given to the device, which so has something to do while the host looks at this one. Where the
            memory of the device does not do, the work is called again with either half.
        pitch: whether the work looks at it.

    Returns:
        one value an utterance, in the order of the stream.

    Raises:
        torch.OutOfMemoryError: a single utterance does not fit.
    """
    return begin_sweep(stream, budget, device, title, work, pitch)()


def begin_sweep[T](stream: Stream, budget: int, device: torch.device, title: str, work: Work[T], pitch: bool = False) -> Later[list[T]]:
    """What `sweep` does, up to the values of the last batch."""
    frames = stream.frames
    order = np.argsort(frames, kind="stable")
    groups = [group.tolist() for group in by_frames(frames, order, budget, most=budget)]
    read = partial(_read, stream, device, pitch)
    out: dict[int, T] = {}
    waiting: list[tuple[list[int], Later[Sequence[T]]]] = []

    def take() -> None:
        group, values = waiting.pop(0)
        out.update(zip(group, values(), strict=True))

    for group, batch in progress(_read_ahead(read, groups), len(groups), title):
        waiting.append((group, _halving(read, group, batch, device, work)))
        if len(waiting) > 1:
            take()

    def rest() -> list[T]:
        while waiting:
            take()
        return [out[i] for i in range(len(stream))]

    return rest


type Read = Callable[[list[int]], Batch]


def _read(stream: Stream, device: torch.device, pitch: bool, group: list[int]) -> Batch:
    batch = collate([(stream, i) for i in group], pitch)
    return batch.pin_memory() if device.type == "cuda" else batch


def _read_ahead(read: Read, groups: list[list[int]]) -> Iterator[tuple[list[int], Batch]]:
    """Batches on the host, the next ones read by a thread."""
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(read, group) for group in groups[:AHEAD]]
        for number, group in enumerate(groups):
            batch = waiting.pop(0).result()
            if number + AHEAD < len(groups):
                waiting.append(reader.submit(read, groups[number + AHEAD]))
            yield group, batch


def _halving[T](read: Read, group: list[int], batch: Batch, device: torch.device, work: Work[T]) -> Later[Sequence[T]]:
    """The work's values, from smaller and smaller batches while the memory does not do."""
    try:
        values = work(group, batch.to(device))
        return values if callable(values) else lambda: values
    except torch.OutOfMemoryError:
        if len(group) == 1:
            raise
    # Behind the handler: while it runs, the exception keeps the tensors of the failed batch alive.
    longest = f" of up to {batch.speech.feats.size(1)} frames" if batch.speech else ""
    log.warning("out of memory with %d utterances%s; going on with halves", len(group), longest)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    middle = len(group) // 2
    halves = (group[:middle], group[middle:])
    both = [value for half in halves for value in _halving(read, half, read(half), device, work)()]
    return lambda: both
