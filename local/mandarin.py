"""Mandarin word lists for text pools."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
from collections.abc import Iterator
from pathlib import Path

from cycle.errors import UserError

HANZI = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
NAMES = ("nr", "ns", "nt", "nz")  # tags of people, places, organisations, brands


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


def _lot(word: str) -> float:
    """A number in (0, 1] drawn for the word, the same for ever."""
    return (int.from_bytes(hashlib.sha256(word.encode()).digest()[:6]) + 1) / 2**48


def jieba_words(shortest: int, longest: int, power: float) -> Iterator[str]:
    """Words of plain hanzi without proper names, drawn without replacement with odds of count ** power.

    The first n of the list are a sample of that size: 0 takes all words alike, large powers the most frequent ones. (Each word
    waits for an exponential time at its own rate: Efraimidis and Spirakis, 2006.)
    """
    rows = []
    for line in jieba_dictionary().read_text(encoding="utf-8").splitlines():
        word, count, tag = line.split(" ")
        if shortest <= len(word) <= longest and not tag.startswith(NAMES) and HANZI.fullmatch(word):
            rows.append((-math.log(_lot(word)) / float(count) ** power, word))
    for _, word in sorted(rows):
        yield word
