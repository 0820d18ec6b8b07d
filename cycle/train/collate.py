"""A batch read from where its utterances lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cycle.data.batch import TOKENS, Batch, pad, round_up
from cycle.data.table import Column
from cycle.data.types import Speech

if TYPE_CHECKING:
    from cycle.train.streams import Stream


@dataclass
class _Part:
    """Utterances of a batch that come from the same stream, and their places in the batch."""

    stream: Stream
    places: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)


def collate(items: Sequence[tuple[Stream, int]], pitch: bool = True, width: int | None = None) -> Batch:
    """Reads utterances of one or several streams into a batch on the host, where features stay as short as they are stored. It has what all
    of them have.

    Args:
        pitch: whether anybody will want it; a synthesiser does.
        width: frames of the batch, and few widths for durations too; None: those of the longest.
    """
    parts = _by_stream(items)
    batch = Batch(_column(parts, "utt_ids"), _column(parts, "spks"), _column(parts, "texts"))
    if all(part.stream.store is not None for part in parts):
        lengths = np.array([s.frames[i] for s, i in items], np.int64)
        batch.speech = Speech(_read(parts, width or int(lengths.max())), torch.from_numpy(lengths))
        batch.f0 = _read(parts, width or int(lengths.max()), pitch=True) if pitch else None
    if all(s.durations is not None for s, _ in items):
        durations = [s.durations[i] for s, i in items]  # type: ignore[index]
        tokens = round_up(max(map(len, durations)) - 1, TOKENS) + 1 if width else None
        batch.durations = pad(durations, tokens)
        assert batch.speech is None or torch.equal(batch.durations.sum(1), batch.speech.lengths), "durations of other recordings"
    if all(s.nbest is not None for s, _ in items):
        batch.nbest = [s.nbest[i] for s, i in items]  # type: ignore[index]
    return batch


def _by_stream(items: Sequence[tuple[Stream, int]]) -> list[_Part]:
    parts: dict[int, _Part] = {}
    for place, (stream, at) in enumerate(items):
        part = parts.setdefault(id(stream), _Part(stream))
        part.places.append(place)
        part.index.append(at)
    return list(parts.values())


def _column(parts: Sequence[_Part], name: str) -> list[Any]:
    """A value of every utterance of a batch."""
    out: list[Any] = [None] * sum(len(part.places) for part in parts)
    for part in parts:
        column = getattr(part.stream, name)
        values = column.some(np.array(part.index)) if isinstance(column, Column) else [column[i] for i in part.index]
        for place, value in zip(part.places, values, strict=True):
            out[place] = value
    return out


def _read(parts: Sequence[_Part], width: int, pitch: bool = False) -> Tensor:
    """(B, width, M) features, or (B, width) log pitch, of utterances that all have a recording."""
    size, stores = sum(len(part.places) for part in parts), [part.stream.store for part in parts]
    assert stores[0] is not None
    out = np.zeros((size, width, *stores[0].shape(pitch)), np.float16)
    for part, store in zip(parts, stores, strict=True):
        assert store is not None
        store.read(part.stream.rows[part.index], out, part.places, pitch)
    return torch.from_numpy(out)
