"""an4: letters, numbers and commands in English, 84 speakers (CMU's census data)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import pool, transcripts
from cycle.data.kaldi import Fault
from cycle.data.recordings import find
from cycle.data.types import Utterance
from local import an4_grammar, archives, layout

SPLITS = ("paired", "speech", "text", "dev", "test")


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    if split == "text":
        yield from an4_grammar.sentences(options["sentences"])
        return
    home = layout.home(root, ["an4"], "etc/an4_train.transcription")
    official = "test" if split == "test" else "train"
    sounds = {path.stem: path for path in find(layout.folder(home / "wav" / options["folders"][official], "get all of the corpus"))}
    said = transcripts.read(home / "etc" / f"an4_{official}.transcription", "sphinx")
    spks = {key: path.parent.name for key, path in sounds.items()}
    roles = pool.by_speaker(spks.values(), options["speakers"], "speech")  # dev and paired; the others' speech comes without text
    for utt in transcripts.join(sounds, said, lambda key: spks.get(key, "unknown")):
        if split == "test" or (roles.get(utt.spk, "speech") if isinstance(utt, Utterance) else "speech") == split:
            yield utt


def fetch(target: Path, options: dict[str, Any]) -> Path:
    return archives.clone(options["url"], target)
