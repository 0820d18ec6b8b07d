"""librispeech: audio books in English (OpenSLR 12), text of other books (OpenSLR 11)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import transcripts
from cycle.data.kaldi import Fault
from cycle.data.recordings import find, walk
from cycle.data.types import Utterance
from local import archives, layout

SPLITS = ("paired", "speech", "text", "dev", "test")


def choose_splits(root: Path, options: dict[str, Any]) -> tuple[str, ...]:
    """All five; without speech or text of their own, what there is of training feeds all pools."""
    missing = [split for split in ("speech", "text") if not layout.existing(places(root), options[split])]
    return ("train", *(split for split in SPLITS if split not in ("paired", "speech", *missing))) if missing else SPLITS


def places(root: Path) -> list[Path]:
    return [layout.home(root, ["LibriSpeech"], "*/*/*/*.trans.txt"), root]


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    wanted = options["paired"] + options["speech"] if split == "train" else options[split]
    for path in layout.existing(places(root), wanted)[: 1 if split == "text" else None]:
        files = [file for file in walk(path) if file.name.endswith(".trans.txt")] if path.is_dir() else []
        said = (line for file in files for line in transcripts.read(file, "kaldi"))
        if split == "text":
            yield from transcripts.spoken(said) if files else transcripts.sentences(path, options["share"])
        else:
            yield from transcripts.join({file.stem: file for file in find(path)}, said, lambda key: key.partition("-")[0])


def fetch(target: Path, options: dict[str, Any]) -> Path:
    return archives.corpus(options["url"], options["checksums"], target)
