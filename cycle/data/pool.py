"""Who goes into which pool, decided by what is said and by nothing else.

Everything with the same spelled text (homophones too) has one rank, a hash of that text: no seed, no file name, no order of
listing changes it. Of an utterance with several texts the first decides, and all of them are kept apart. Recordings are taken by
rank from both ends: `test`, `dev`, `paired` upwards, `speech` and then the leftover `text` downwards. So test and dev stay the
same whatever the other sizes are, more pairs contain the fewer ones, and the speech pool does not move with the number of pairs.
Only whole groups of one text are handed out; what is left of a group that is larger than the room is used nowhere.

Evaluation sets that a corpus publishes ("official") stand as they are and take nothing out of training; only the text pool never
holds what they say.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from cycle.data.kaldi import NOBODY
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError

UPWARDS = ("test", "dev", "paired")


@dataclass(frozen=True)
class Item:
    """An utterance with its spelled text: tokens joined by single spaces, none where nobody has written down what is said.

    `others` are its further texts, spelled alike.
    """

    utt: Utterance
    tokens: str
    others: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """What is handed out together: all that is said alike."""
        return self.tokens or f"?{self.utt.utt_id}"  # no token holds a question mark: it is never spoken

    @property
    def texts(self) -> tuple[str, ...]:
        """All of its spelled texts, none where it has none."""
        return (self.tokens, *self.others) if self.tokens else self.others


def said(items: Iterable[Item]) -> set[str]:
    """Every spelled text of some items."""
    return {text for item in items for text in item.texts}


def rank(tokens: str) -> str:
    """Where a spelled text stands between the pools; uniform and fixed for ever."""
    return hashlib.sha256(f"pools/1 {tokens}".encode()).hexdigest()


class _Shelf:
    """Groups of one spelled text in order of rank, taken from either end."""

    def __init__(self, items: Iterable[Item]):
        groups: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            groups[item.group].append(item)
        order = sorted(groups, key=rank)
        self.groups = deque(sorted(groups[key], key=lambda item: item.utt.utt_id) for key in order)

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def take(self, count: int | None, last: bool = False, distinct: bool = False, without: Collection[str] = ()) -> list[Item]:
        """Up to `count` items (None: all) from the first groups, or the last.

        Args:
            distinct: one of each group.
            without: texts; groups that hold any of them are passed over and stay on the shelf.
        """
        out: list[Item] = []
        left: list[list[Item]] = []
        while self.groups and (count is None or len(out) < count):
            group = self.groups.pop() if last else self.groups.popleft()
            if any(text in without for item in group for text in item.texts):
                left.append(group)
            else:
                out += group[:1] if distinct else group[: None if count is None else count - len(out)]
        if last:
            self.groups.extend(reversed(left))
        else:
            self.groups.extendleft(reversed(left))
        return out


def _enough(pools: Mapping[str, Sequence[Item]], sizes: Mapping[str, int | None], sample: bool) -> None:
    wanted = {pool: 1 if size is None or (sample and size) else size for pool, size in sizes.items()}
    short = [pool for pool in POOLS if len(pools[pool]) < wanted[pool]]
    if short:
        numbers = ", ".join(f"{pool} {len(pools[pool])} of {wanted[pool]}" for pool in short)
        raise UserError(f"not enough usable data for the pools: {numbers}", None, "give more data, or ask for less: pools.NAME=N")


def scaled(sizes: Mapping[str, int | None], available: int) -> dict[str, int | None]:
    """Sizes that share what there is in the proportions that were wanted, at least one each; None wants everything."""
    wanted = {pool: available if size is None else min(size, available) for pool, size in sizes.items()}
    total = sum(wanted.values())
    if total <= available:
        return dict(sizes)
    return {pool: size and max(1, size * available // total) for pool, size in wanted.items()}


def by_speaker(spks: Iterable[str], shares: Mapping[str, float], rest: str) -> dict[str, str]:
    """Whom each speaker belongs to: the shares are filled in their order, by a hash of the name, and the others are the rest's.

    Args:
        shares: of the number of speakers; at least one each.
    """
    order = sorted(set(spks), key=lambda spk: rank(f"speaker {spk}"))
    given, start = dict.fromkeys(order, rest), 0
    for split, share in shares.items():
        stop = start + max(1, round(share * len(order)))
        given |= dict.fromkeys(order[start:stop], split)
        start = stop
    return given


def _without(items: Iterable[Item], taken: Collection[str]) -> list[Item]:
    return [item for item in items if not any(text in taken for text in item.texts)]


def _texts(items: Iterable[Item], count: int | None, taken: set[str]) -> Iterator[Item]:
    """The first `count` texts that are neither taken nor doubled; asks for no more than it needs."""
    seen = set(taken)
    new = (item for item in items if item.tokens not in seen)
    for item in islice(new, count):
        seen.add(item.tokens)
        yield item


def assign(
    splits: Mapping[str, Iterable[Item]], sizes: Mapping[str, int | None], official: Collection[str] = (), sample: bool = False
) -> dict[str, list[Item]]:
    """Fills the five pools.

    Args:
        splits: items by split. A split named as a pool feeds that pool; any other one ("all", "train") feeds every pool that no
            split is named after. Texts come in order of preference, and only as many are drawn as needed.
        sizes: utterances wanted, by pool; None takes everything there is.
        official: evaluation sets that stand as published: what they share with training stays in both.
        sample: the corpus is a part of what the sizes were made for: they are scaled to it.

    Returns:
        Items by pool, text pool without recordings. No spelled text of test or dev is in the text pool, nor, unless the set is
        official, in any other; none of the speech pool is in the text pool. Texts of the paired pool may be in the text pool, so
        that it does not change with the number of pairs.

    Raises:
        UserError: fewer than asked for; names the numbers.
    """
    common = [item for name, items in splits.items() if name not in POOLS for item in items]
    own = {pool: list(splits[pool]) for pool in (*UPWARDS, "speech") if pool in splits}
    shelf = _Shelf(_without(common, said(item for pool in ("test", "dev") if pool not in official for item in own.get(pool, []))))
    if sample:
        fed = {pool: size for pool, size in sizes.items() if pool not in splits}
        sizes = {**sizes, **scaled(fed, len(shelf))}
    pools: dict[str, list[Item]] = {}
    held_out: set[str] = set()  # said in dev or test
    ours: set[str] = set()  # said in an evaluation set that is not official, so that it leaves training
    for pool in (*UPWARDS, "speech"):
        apart = set() if pool in official else held_out if pool == "dev" else ours
        source = _Shelf(own[pool]) if pool in own else shelf
        pools[pool] = source.take(sizes[pool], last=pool == "speech", without=apart)
        if pool in ("test", "dev"):
            secret = said([*pools[pool], *own.get(pool, [])])
            held_out |= secret
            ours |= secret if pool not in official else set()
    taken = held_out | said(pools["speech"])
    if "text" in splits:
        texts = _texts(splits["text"], sizes["text"], taken)
    else:
        texts = iter(shelf.take(sizes["text"], last=True, distinct=True, without=taken))
    pools["text"] = [Item(replace(item.utt, spk=NOBODY, wav=None, seconds=None), item.tokens) for item in texts]
    _enough(pools, sizes, sample)
    return pools


def shared(pools: Mapping[str, Sequence[Item]], official: Iterable[str]) -> list[tuple[str, str, str]]:
    """What official evaluation sets share with training: (set, utterance, "text", "speaker" or "text and speaker")."""
    training = [*pools["paired"], *pools["speech"]]
    texts, spks = said(training), {item.utt.spk for item in training} - {NOBODY}
    rows = []
    for pool in official:
        for item in pools[pool]:
            kinds = [kind for kind, there in (("text", not texts.isdisjoint(item.texts)), ("speaker", item.utt.spk in spks)) if there]
            rows += [(pool, item.utt.utt_id, " and ".join(kinds))] if kinds else []
    return rows
