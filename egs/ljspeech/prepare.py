"""ljspeech: one woman reads non-fiction in English (LJ Speech 1.1)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import transcripts
from cycle.data.kaldi import Fault
from cycle.data.recordings import find
from cycle.data.types import Utterance
from local import archives, layout

SPLITS = ("all",)


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    home = layout.home(root, ["LJSpeech-1.1"], "metadata.csv")
    sounds = {path.stem: path for path in find(home / "wavs")}
    return transcripts.join(sounds, transcripts.read(home / "metadata.csv", "pipe"), lambda key: "lj")


def fetch(target: Path, options: dict[str, Any]) -> Path:
    return archives.corpus(options["url"], options["checksums"], target)
