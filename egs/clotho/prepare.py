"""clotho: everyday sounds with five captions each (Clotho v2.1), in the layout of its distribution."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import captions
from cycle.data.kaldi import Fault
from cycle.data.types import Utterance
from local import archives, layout, sevenzip

SPLITS = ("paired", "dev", "test")


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    name = options["folders"][split]
    file = f"clotho_captions_{name}.csv"
    table = layout.home(root, ["clotho", "CLOTHO_v2.1", "clotho_csv_files"], file) / file
    sounds = layout.home(root, ["clotho_audio_files", "CLOTHO_v2.1/clotho_audio_files", "clotho"], name) / name
    return captions.clips(table, layout.folder(sounds, f"unpack clotho_audio_{name}.7z"))


def fetch(target: Path, options: dict[str, Any]) -> Path:
    archives.corpus(options["url"], options["checksums"], target)
    for name in options["folders"].values():
        sevenzip.unpack(target / f"clotho_audio_{name}.7z", name)
    return target
