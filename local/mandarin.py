"""Mandarin word lists for text pools."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from cycle.errors import UserError

HANZI = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")


def jieba_dictionary() -> Path:
    """The word list inside the installed package jieba, found without importing it (that would take seconds and print).

    Raises:
        UserError: jieba is not installed.
    """
    spec = importlib.util.find_spec("jieba")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "dict.txt").is_file():
            return Path(folder) / "dict.txt"
    raise UserError("jieba's dictionary is missing", None, "set the environment up again: tools/install.sh")


def jieba_words(shortest: int, longest: int, min_count: int) -> Iterator[str]:
    """Words of plain hanzi, the most frequent first; equal counts in the order of their code points."""
    rows = []
    for line in jieba_dictionary().read_text(encoding="utf-8").splitlines():
        word, count, _ = line.split(" ")
        if int(count) >= min_count and shortest <= len(word) <= longest and HANZI.fullmatch(word):
            rows.append((-int(count), word))
    for _, word in sorted(rows):
        yield word
