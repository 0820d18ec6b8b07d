"""Who goes into which pool, decided by what is said and by nothing else.

Everything with the same spelled text (homophones too) has one rank, a hash of that text: no seed, no file name, no order of
listing changes it. Recordings are taken by rank from both ends: `test`, `dev`, `paired` upwards, `speech` and then the leftover
`text` downwards. So test and dev stay the same whatever the other sizes are, more pairs contain the fewer ones, and the speech
pool does not move with the number of pairs. Only whole groups of one text are handed out; what is left of a group that is
larger than the room is used nowhere.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError

UPWARDS = ("test", "dev", "paired")
DOWNWARDS = ("speech", "text")


@dataclass(frozen=True)
class Item:
    """An utterance with its spelled text (tokens joined by single spaces)."""

    utt: Utterance
    tokens: str


def rank(tokens: str) -> str:
    """Where a spelled text stands between the pools; uniform and fixed for ever."""
    return hashlib.sha256(f"pools/1 {tokens}".encode()).hexdigest()


class _Shelf:
    """Groups of one spelled text in order of rank, taken from either end."""

    def __init__(self, items: Iterable[Item]):
        groups: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            groups[item.tokens].append(item)
        order = sorted(groups, key=rank)
        self.groups = deque(sorted(groups[key], key=lambda item: item.utt.utt_id) for key in order)

    def take(self, count: int, last: bool = False, distinct: bool = False) -> list[Item]:
        """Up to `count` items from the first groups (or the last); `distinct`: one of each group."""
        out: list[Item] = []
        while self.groups and len(out) < count:
            group = self.groups.pop() if last else self.groups.popleft()
            out += group[: 1 if distinct else count - len(out)]
        return out


def _enough(pools: Mapping[str, Sequence[Item]], sizes: Mapping[str, int]) -> None:
    short = [pool for pool in POOLS if len(pools[pool]) < sizes[pool]]
    if short:
        numbers = ", ".join(f"{pool} {len(pools[pool])} of {sizes[pool]}" for pool in short)
        raise UserError(f"not enough usable data for the pools: {numbers}", None, "give more data, or set smaller sizes: -- pools.NAME=N")


def _without(items: Iterable[Item], taken: set[str]) -> list[Item]:
    return [item for item in items if item.tokens not in taken]


def _texts(items: Iterable[Item], count: int, taken: set[str]) -> Iterator[Item]:
    """The first `count` texts that are neither taken nor doubled; asks for no more than it needs."""
    seen = set(taken)
    new = (item for item in items if item.tokens not in seen)
    for _, item in zip(range(count), new, strict=False):
        seen.add(item.tokens)
        yield item


def assign(splits: Mapping[str, Iterable[Item]], sizes: Mapping[str, int]) -> dict[str, list[Item]]:
    """Fills the five pools.

    Args:
        splits: items by split. A split named as a pool feeds that pool; any other one ("all", "train") feeds every pool that no
            split is named after. Texts come in order of preference, and only as many are drawn as needed.
        sizes: utterances wanted, by pool.

    Returns:
        Items by pool, text pool without recordings. No spelled text of test or dev is in another pool, none of the speech pool is
        in the text pool. Texts of the paired pool may be in the text pool, so that it does not change with the number of pairs.

    Raises:
        UserError: fewer than asked for; names the numbers.
    """
    common = [item for name, items in splits.items() if name not in POOLS for item in items]
    own = {pool: list(splits[pool]) for pool in (*UPWARDS, "speech") if pool in splits}
    taken = {item.tokens for pool in ("test", "dev") for item in own.get(pool, [])}
    shelf = _Shelf(_without(common, taken))
    pools: dict[str, list[Item]] = {}
    held_out: set[str] = set()
    for pool in (*UPWARDS, "speech"):
        source = _Shelf(_without(own[pool], held_out)) if pool in own else shelf
        pools[pool] = source.take(sizes[pool], last=pool == "speech")
        if pool in ("test", "dev"):
            held_out |= {item.tokens for item in pools[pool]}
            held_out |= {item.tokens for item in own.get(pool, [])}
    taken = held_out | {item.tokens for item in pools["speech"]}
    texts = _texts(splits["text"], sizes["text"], taken) if "text" in splits else _without(shelf.take(sizes["text"], True, True), taken)
    pools["text"] = [Item(replace(item.utt, spk="-", wav=None, seconds=None), item.tokens) for item in texts]
    _enough(pools, sizes)
    return pools
