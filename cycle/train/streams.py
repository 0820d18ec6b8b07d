"""Streams of utterances, and which of them meet in a batch: by length, in given proportions, the same at every resume."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from cycle.data.batch import Batch, pad, speech_of
from cycle.data.features import FeatureStore

FRAMES_PER_TOKEN = 12  # for streams of text only: about how long they will sound
LONGEST = 256  # utterances in a batch at most


@dataclass
class Stream:
    """Utterances of one origin (paired, pseudo, synthetic, text, speech).

    Attributes:
        rows: place of each utterance in the store.
        durations: (L + 1,) frames per token each, for synthesiser training.
        nbest: hypotheses with the synthesiser's reward.
    """

    name: str
    utt_ids: list[str]
    spks: list[str]
    texts: list[str]
    store: FeatureStore | None = None
    rows: list[int] = field(default_factory=list)
    durations: list[NDArray[np.int64]] | None = None
    nbest: list[list[tuple[str, float]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.utt_ids)

    @property
    def frames(self) -> NDArray[np.int64]:
        if self.store is not None:
            return self.store.frames[np.array(self.rows, dtype=np.int64)]
        return np.array([FRAMES_PER_TOKEN * (1 + t.count(" ")) for t in self.texts], dtype=np.int64)

    def subset(self, keep: Sequence[int]) -> Stream:
        """Some of the utterances, in the given order."""

        def pick(values: list) -> list:  # type: ignore[type-arg]
            return [values[i] for i in keep] if values else values

        durations = [self.durations[i] for i in keep] if self.durations is not None else None
        return Stream(
            self.name, pick(self.utt_ids), pick(self.spks), pick(self.texts), self.store, pick(self.rows), durations, pick(self.nbest)
        )


def collate(items: Sequence[tuple[Stream, int]]) -> Batch:
    """Reads utterances of one or several streams into a batch on the host."""
    first = items[0][0]
    batch = Batch([s.utt_ids[i] for s, i in items], [s.spks[i] for s, i in items], [s.texts[i] for s, i in items])
    if first.store is not None:
        batch.speech = speech_of([s.store.feats(s.rows[i]) for s, i in items])  # type: ignore[union-attr]
        batch.f0 = pad([s.store.f0(s.rows[i]) for s, i in items])  # type: ignore[union-attr]
    if all(s.durations is not None for s, _ in items):
        batch.durations = pad([s.durations[i] for s, i in items], np.int64)  # type: ignore[index]
    if all(s.nbest for s, _ in items):
        batch.nbest = [s.nbest[i] for s, i in items]
    return batch


def by_frames(lengths: NDArray[np.int64], order: Sequence[int], budget: int) -> list[list[int]]:
    """Cuts an order of utterances into batches of at most `budget` padded frames (one utterance at least)."""
    batches: list[list[int]] = []
    longest = 0
    for i in order:
        longest = max(longest, int(lengths[i]))
        if not batches or longest * (len(batches[-1]) + 1) > budget or len(batches[-1]) >= LONGEST:
            batches.append([])
            longest = int(lengths[i])
        batches[-1].append(i)
    return batches


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
    """

    def __init__(self, streams: Mapping[str, Stream], shares: Mapping[str, float], budget: int, seed: int):
        self.parts = [(streams[k], v) for k, v in sorted(shares.items()) if v > 0 and k in streams and len(streams[k])]
        assert self.parts, f"no stream of {sorted(shares)} holds anything"
        self.budget, self.seed = budget, seed
        self._lengths = [s.frames for s, _ in self.parts]
        self._epochs: dict[int, list[list[tuple[Stream, int]]]] = {}
        self._starts = [0]

    def _draw(self, epoch: int) -> list[tuple[int, int]]:
        """(part, utterance) of an epoch."""
        total = sum(len(s) for s, _ in self.parts)
        whole = sum(v for _, v in self.parts)
        drawn = []
        for number, (stream, share) in enumerate(self.parts):
            n = max(1, round(total * share / whole))
            start = epoch * n
            for lap in range(start // len(stream), (start + n - 1) // len(stream) + 1):
                order = np.random.default_rng(seed_of(self.seed, "lap", number, lap)).permutation(len(stream))
                low, high = max(start - lap * len(stream), 0), min(start + n - lap * len(stream), len(stream))
                drawn += [(number, int(i)) for i in order[low:high]]
        return drawn

    def _epoch(self, epoch: int) -> list[list[tuple[Stream, int]]]:
        if epoch not in self._epochs:
            rng = np.random.default_rng(seed_of(self.seed, "epoch", epoch))
            drawn = self._draw(epoch)
            lengths = np.array([self._lengths[part][i] for part, i in drawn])
            order = np.argsort(lengths * rng.uniform(0.85, 1.15, len(drawn)), kind="stable")
            batches = by_frames(lengths, [int(i) for i in order], self.budget)
            rng.shuffle(batches)
            self._epochs = {epoch: [[(self.parts[drawn[i][0]][0], drawn[i][1]) for i in batch] for batch in batches]}
        return self._epochs[epoch]

    def items(self, number: int) -> list[tuple[Stream, int]]:
        """What batch `number` holds."""
        epoch = max(i for i, s in enumerate(self._starts) if s <= number)
        while True:
            batches = self._epoch(epoch)
            if len(self._starts) == epoch + 1:
                self._starts.append(self._starts[epoch] + len(batches))
            if number < self._starts[epoch + 1]:
                return batches[number - self._starts[epoch]]
            epoch += 1

    def batches(self, start: int, device: torch.device) -> Iterator[Batch]:
        """Batches from `start` on, one read ahead by a thread."""
        pinned = device.type == "cuda"

        def read(number: int) -> Batch:
            batch = collate(self.items(number))
            if pinned and batch.speech is not None:
                batch.speech.feats = batch.speech.feats.pin_memory()
            return batch

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(read, start)
            while True:
                start += 1
                batch, ahead = ahead.result(), pool.submit(read, start)
                yield batch.to(device)
