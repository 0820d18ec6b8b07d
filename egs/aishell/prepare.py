"""aishell: AISHELL-1, Mandarin read by 400 people (OpenSLR 33)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import transcripts
from cycle.data.kaldi import Fault
from cycle.data.recordings import find
from cycle.data.types import Utterance
from local import archives, layout

SPLITS = ("train", "dev", "test")
TEXT = "transcript/aishell_transcript_v0.8.txt"


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    home = layout.home(root, ["data_aishell"], TEXT)
    folder = layout.folder(home / "wav" / split, "unpack the archives in wav/ first")
    sounds = {path.stem: path for path in find(folder)}
    lines = transcripts.read(home / TEXT, "kaldi")
    said = (line for line in lines if (split == "train" if isinstance(line, Fault) else line.key in sounds))
    return transcripts.join(sounds, said, lambda key: sounds[key].parent.name)


def fetch(target: Path, options: dict[str, Any]) -> Path:
    archives.corpus(options["url"], options["checksums"], target)
    for archive in sorted((target / "data_aishell" / "wav").glob("*.tar.gz")):  # one a speaker
        archives.unpack(archive, archive.parent)
        archive.unlink()
    return target
