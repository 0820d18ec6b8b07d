"""Streams of utterances, and which of them meet in a batch: by length, in given proportions, the same at every resume."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cycle.data.batch import Batch
from cycle.data.features import FeatureStore, sounding
from cycle.data.table import Column
from cycle.train.collate import collate

LONGEST = 256  # utterances in a batch at most


@dataclass
class Stream:
    """Utterances of one origin (paired, pseudo, synthetic, text, speech, labelled, recordings). Columns may be views of files: reading one
    costs what is read.

    Attributes:
        frames: (N,) length, or for texts about how long they will sound.
        rows: (N,) place of each utterance in the store.
        durations: (L + 1,) frames per token each, for synthesiser training.
        nbest: hypotheses with a score, see `Batch`.
    """

    name: str
    utt_ids: Sequence[str]
    spks: Sequence[str]
    texts: Sequence[str]
    frames: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    store: FeatureStore | None = None
    rows: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    durations: Sequence[NDArray[np.int64]] | None = None
    nbest: Sequence[list[tuple[str, float]]] | None = None

    def __post_init__(self) -> None:
        if self.store is not None:
            self.frames = self.store.frames[self.rows]
        elif len(self.frames) != len(self):
            self.frames = np.array([sounding(text) for text in self.texts], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.utt_ids)

    def subset(self, keep: Sequence[int] | NDArray[np.int64]) -> Stream:
        """Some of the utterances, in the given order."""
        index = np.asarray(keep, dtype=np.int64)
        rows = self.rows[index] if self.store is not None else self.rows
        columns = (self.utt_ids, self.spks, self.texts, self.durations, self.nbest)
        utt_ids, spks, texts, durations, nbest = Column.picked(columns, index)
        return Stream(self.name, utt_ids, spks, texts, self.frames[index], self.store, rows, durations, nbest)


def by_frames(lengths: NDArray[np.integer[Any]], order: NDArray[np.int64], budget: int, most: int = LONGEST) -> list[NDArray[np.int64]]:
    """Cuts an order of utterances into batches of at most `budget` padded frames and `most` utterances (one at least)."""
    return [order[low:high] for low, high in pairwise(cuts(lengths[order], budget, most))]


def cuts(lengths: NDArray[np.integer[Any]], budget: int, most: int = LONGEST) -> list[int]:
    """Where the batches of `by_frames` begin, and where the last one ends."""
    out, longest, first = [0], 0, 0
    for place, length in enumerate(memoryview(np.ascontiguousarray(lengths))):  # one number at a time, not a list of millions
        longest = max(longest, length)
        if place > first and (longest * (place + 1 - first) > budget or place - first >= most):
            out.append(place)
            longest, first = length, place
    return [*out, len(lengths)] if len(lengths) else out


def widths(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The next of four widths an octave (64, 80, 96, 112, 128, 160, ...), multiples of eight: at most a quarter more."""
    lengths = np.maximum(lengths, 1)
    step = 1 << np.maximum(3, np.frexp(lengths)[1] - 3)
    return -(-lengths // step) * step


def even_cuts(lengths: NDArray[np.integer[Any]], budget: int, most: int = LONGEST) -> tuple[list[int], list[int]]:
    """As `cuts`, but batches have few shapes: all of a width hold as many utterances, save those that are left over at the end.

    Returns:
        where batches begin and end; their widths in frames.
    """
    wide = memoryview(np.ascontiguousarray(widths(lengths)))
    out, found, width, place = [0], list[int](), 0, 0
    while place < len(wide):
        width = max(width, wide[place])
        full = max(1, min(most, budget // width))
        place += 1
        if place - out[-1] >= full:
            place = out[-1] + full  # where one that is longer leaves room for less, those before it go without it
            out.append(place)
            found.append(width)
            width = 0
    return ([*out, place], [*found, width]) if place > out[-1] else (out, found)


@dataclass(frozen=True)
class Epoch:
    """Everything that is drawn in an epoch, end to end.

    Attributes:
        parts, places: of each utterance.
        starts: (batches + 1,) where batches begin and end.
        widths: (batches,) frames of each; empty where they are those of its longest utterance.
        turns: the order in which batches come.
    """

    parts: NDArray[np.int16]
    places: NDArray[np.int32]
    starts: NDArray[np.int64]
    widths: NDArray[np.int64]
    turns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.turns)

    def items(self, number: int) -> list[tuple[int, int]]:
        """(part, place) of each utterance of a batch."""
        low, high = self.starts[self.turns[number] : self.turns[number] + 2].tolist()
        return list(zip(self.parts[low:high].tolist(), self.places[low:high].tolist(), strict=True))


def seed_of(*parts: object) -> int:
    """A seed from anything that prints, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


class Mixture:
    """An endless sequence of batches from several streams; batch `n` depends on nothing but the seed and `n`.

    An epoch sees each stream in proportion to its share: as many utterances in all as the streams hold, drawn without repetition until a
    stream is used up, sorted by length with a little noise, cut by frames, and shuffled as batches.

    Args:
        streams: by name.
        shares: stream: share of the utterances; streams without a share, or empty ones, are left out.
        budget: padded frames in a batch.
        seed: of the order.
        even: batches of few shapes, see `even_cuts`.
    """

    def __init__(self, streams: Mapping[str, Stream], shares: Mapping[str, float], budget: int, seed: int, even: bool = False):
        self.parts = [(streams[k], v) for k, v in sorted(shares.items()) if v > 0 and k in streams and len(streams[k])]
        assert self.parts, f"no stream of {sorted(shares)} holds anything"
        self.budget, self.seed, self.even = budget, seed, even
        self._lengths = [s.frames for s, _ in self.parts]
        self._epochs: dict[int, Epoch] = {}
        self._starts = [0]

    def _draw(self, epoch: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Part and utterance of everything in an epoch."""
        total = sum(len(s) for s, _ in self.parts)
        whole = sum(v for _, v in self.parts)
        drawn = []
        for number, (stream, share) in enumerate(self.parts):
            n = max(1, round(total * share / whole))
            start = epoch * n
            for lap in range(start // len(stream), (start + n - 1) // len(stream) + 1):
                order = np.arange(len(stream), dtype=np.int32)
                np.random.default_rng(seed_of(self.seed, "lap", number, lap)).shuffle(order)
                low, high = max(start - lap * len(stream), 0), min(start + n - lap * len(stream), len(stream))
                drawn.append((number, order[low:high]))
        return np.concatenate([np.full(len(i), n, np.int16) for n, i in drawn]), np.concatenate([i for _, i in drawn])

    def _epoch(self, epoch: int) -> Epoch:
        if epoch not in self._epochs:
            rng = np.random.default_rng(seed_of(self.seed, "epoch", epoch))
            parts, places = self._draw(epoch)
            lengths = np.zeros(len(parts), dtype=np.int32)
            for number, known in enumerate(self._lengths):
                lengths[parts == number] = known[places[parts == number]]
            noisy = rng.uniform(0.85, 1.15, len(lengths))
            noisy *= lengths  # in its place: with millions, every copy counts
            order = np.argsort(noisy, kind="stable")
            del noisy
            starts, wide = even_cuts(lengths[order], self.budget) if self.even else (cuts(lengths[order], self.budget), [])
            turns = rng.permutation(len(starts) - 1)
            self._epochs = {epoch: Epoch(parts[order], places[order], np.array(starts), np.array(wide, dtype=np.int64), turns)}
        return self._epochs[epoch]

    def _find(self, number: int) -> tuple[Epoch, int]:
        """The epoch of batch `number`, and its number there."""
        epoch = bisect_right(self._starts, number) - 1
        while True:
            batches = self._epoch(epoch)
            if len(self._starts) == epoch + 1:
                self._starts.append(self._starts[epoch] + len(batches))
            if number < self._starts[epoch + 1]:
                return batches, number - self._starts[epoch]
            epoch += 1

    def items(self, number: int) -> list[tuple[Stream, int]]:
        """What batch `number` holds."""
        epoch, place = self._find(number)
        return [(self.parts[part][0], at) for part, at in epoch.items(place)]

    def width(self, number: int) -> int | None:
        """Frames that batch `number` is padded to; None: those of its longest utterance."""
        epoch, place = self._find(number)
        return int(epoch.widths[epoch.turns[place]]) if self.even else None

    def batch(self, number: int, rank: int = 0, ranks: int = 1, split: bool = True) -> Batch:
        """Batch `number` on the host, or a rank's share of it."""
        whole = self.items(number)
        mine = whole[rank::ranks] if split else whole
        some = mine or whole[:1]  # with nothing to do, a rank goes through the motions and counts for nothing
        batch = collate(some, width=self.width(number))
        batch.share = len(mine) / len(whole) if split else 1 / ranks
        return batch

    def batches(self, start: int, device: torch.device, rank: int = 0, ranks: int = 1, split: bool = True) -> Iterator[Batch]:
        """Batches from `start` on, or a rank's share of each, one read ahead by a thread.

        Args:
            split: the share is a part of the utterances; otherwise all of them, which then count as much as a share.
        """
        pinned = device.type == "cuda"

        def read(number: int) -> Batch:
            batch = self.batch(number, rank, ranks, split)
            return batch.pin_memory() if pinned else batch

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(read, start)
            while True:
                start += 1
                batch, ahead = ahead.result(), pool.submit(read, start)
                yield batch.to(device)
