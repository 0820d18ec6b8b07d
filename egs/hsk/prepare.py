"""hsk: Mandarin words read by one speaker (audio-cmn); text from jieba's dictionary."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data.kaldi import NOBODY
from cycle.data.types import Utterance
from cycle.errors import UserError
from local.archives import clone
from local.mandarin import HANZI, jieba_words

SPLITS = ("all", "text")
PREFIX = "cmn-"


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance]:
    shortest, longest = options["characters"]
    if split == "text":
        for number, word in enumerate(jieba_words(shortest, longest, options["power"])):
            yield Utterance(f"jieba-{number:06d}", NOBODY, None, word)
        return
    for path in sorted(folder(root, options).glob(f"{PREFIX}*.mp3")):
        word = path.stem.removeprefix(PREFIX)  # the name is the transcript: it must not become the id
        if HANZI.fullmatch(word) and shortest <= len(word) <= longest:
            yield Utterance("tan-" + hashlib.sha256(word.encode()).hexdigest()[:12], "tan", path, word)


def folder(root: Path, options: dict[str, Any]) -> Path:
    """The recordings in a clone, in one of its qualities, or the folder itself."""
    tried = [root / quality / "hsk" for quality in options["qualities"]] + [root / "hsk", root]
    for place in tried:
        if next(place.glob(f"{PREFIX}*.mp3"), None):
            return place
    raise UserError(f"holds no hsk recordings ({PREFIX}*.mp3)", root, "give a clone of audio-cmn: --data DIR")


def fetch(target: Path, options: dict[str, Any]) -> Path:
    return clone(options["url"], target)
