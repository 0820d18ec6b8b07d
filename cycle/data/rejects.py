"""What of a corpus cannot be used, item by item, with the reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cycle.data.kaldi import Fault
from cycle.data.types import Utterance
from cycle.errors import UserError
from cycle.files import write_tsv
from cycle.log import log


class Rejects:
    """Items that cannot be used, each with its reason; where too many of them are bad, the corpus is.

    Args:
        divided: the recipe divides one whole itself, by speaker: it is judged as a whole, since the bad ones may be one speaker's.

    Attributes:
        rows: (reason, split, utterance, what) of each.
        seen: how many items were looked at, by split.
    """

    def __init__(self, divided: bool = False) -> None:
        self.divided = divided
        self.rows: list[tuple[str, str, str, str]] = []
        self.seen: Counter[str] = Counter()

    def add(self, split: str, utt: Utterance | Fault, reason: str, detail: str = "") -> None:
        if isinstance(utt, Fault):
            self.rows.append((reason, split, "-", detail or utt.where))
        else:
            self.rows.append((reason, split, utt.utt_id, detail or str(utt.wav or utt.text)))

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(row[0] for row in self.rows).most_common())

    def write(self, path: Path) -> None:
        """Writes the list; no file where nothing was left out."""
        path.unlink(missing_ok=True)
        if self.rows:
            write_tsv(path, ("reason", "split", "utt", "what"), sorted(self.rows))

    def save(self, path: Path) -> None:
        """Writes the list, and refuses a corpus that is mostly in it.

        Raises:
            UserError: as `judge`.
        """
        self.write(path)
        self.judge(path, "mend what this file names, or give another corpus")

    def judge(self, where: Path, remedy: str) -> None:
        """Refuses a corpus of which too little can be used.

        Raises:
            UserError: more than half of a split is bad, or nothing is there.
        """
        empty = next((split for split, total in self.seen.items() if total == 0), None)
        if empty:
            raise UserError(f"the corpus holds nothing for {empty!r}", None, "give the corpus's own folder: --data DIR")
        bad = Counter(self._judged(row[1]) for row in self.rows)
        seen = Counter[str]()
        for split, total in self.seen.items():
            seen[self._judged(split)] += total
        for split in seen:
            if 2 * bad[split] > seen[split]:
                reasons = Counter(row[0] for row in self.rows if self._judged(row[1]) == split)
                counts = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
                what = f"{bad[split]} of {seen[split]} items{f' of {split!r}' if split else ''} cannot be used ({counts})"
                raise UserError(what, where, remedy)

    def _judged(self, split: str) -> str:
        """What a split is judged with: nothing but itself, or all that has a recording."""
        return "" if self.divided and split != "text" else split

    def warn(self, path: Path) -> None:
        """One line for all that was left out."""
        if self.rows:
            counts = ", ".join(f"{n} {reason}" for reason, n in self.reasons.items())
            log.warning("left out %d of %d items (%s): see %s", len(self.rows), self.seen.total(), counts, path)
