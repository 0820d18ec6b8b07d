"""The user's mistakes: one line, exit code 2. Anything else is ours and keeps its traceback."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend.

    Args:
        what: what is wrong, in one sentence without a full stop.
        where: the file (or `file:line`) that holds the mistake.
        remedy: what to do about it.
    """

    def __init__(self, what: str, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return " ".join(f"{place}{self.what}{remedy}".split())
