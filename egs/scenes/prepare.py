"""scenes: acoustic scenes mixed on the spot, each with five captions. A synthetic demonstration, no recordings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import captions
from cycle.data.kaldi import Fault
from cycle.data.types import Utterance
from cycle.files import atomic_dir, read_json, write_json
from local import scenes
from local.sizes import told

SPLITS = ("paired", "dev", "test")


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    return captions.clips(root / f"captions_{split}.csv", root / split)


def fetch(target: Path, options: dict[str, Any]) -> Path:
    """Mixes as many scenes as the pools want."""
    wanted = {"seed": options["seed"], **told(options["pools"], SPLITS)}
    if (target / "corpus.json").is_file() and read_json(target / "corpus.json") == wanted:
        return target
    with atomic_dir(target) as folder:
        scenes.make(folder, {split: wanted[split] for split in SPLITS}, wanted["seed"])
        write_json(folder / "corpus.json", wanted)
    return target
