"""What happened in an experiment: its pools, how long each stage took, versions and command lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cycle.command import again, folder_of
from cycle.eval.story import Story, number
from cycle.files import read_json

USES = {
    "paired": "speech and text: pretraining, every round",
    "speech": "speech only: labelled by the ASR",
    "text": "text only: spoken by the TTS",
    "dev": "chooses rounds and thresholds",
    "test": "is only reported",
}


@dataclass(frozen=True)
class Pool:
    """A pool's size; `hours` is None where it has no speech."""

    name: str
    utterances: int
    hours: float | None
    speakers: int | None


def pools(story: Story) -> list[Pool]:
    """The pools as stage 1 left them; those that were not made are missing."""
    found = []
    for name in USES:
        folder = story.exp.data(name)
        if (folder / "wav.scp").is_file() or (folder / "text").is_file():
            found.append(_pool(folder, name))
        elif getattr(story.exp.config.pools, name) != 0:
            story.lacks(f"Pool {name}: stage 1 has not made it.")
    return found


def _pool(folder: Path, name: str) -> Pool:
    seconds = sum(float(value) for value in _values(folder / "utt2dur"))
    size = sum(1 for _ in _values(folder / ("wav.scp" if (folder / "wav.scp").is_file() else "text")))
    voices = len(set(_values(folder / "utt2spk"))) if seconds else 0
    return Pool(name, size, round(seconds / 3600, 4) if seconds else None, voices or None)


def _values(path: Path) -> Iterator[str]:
    """What stands behind the ids of a Kaldi table, one after another: a text pool may be large."""
    if path.is_file():
        with open(path, encoding="utf-8") as lines:
            yield from (line.rstrip("\n").partition(" ")[2] for line in lines)


@dataclass(frozen=True)
class Time:
    """Seconds of one stage, over all sittings."""

    stage: str
    of: str
    seconds: float
    done: bool


def times(story: Story) -> list[Time]:
    """Seconds by stage, the controls' behind the experiment's; the report's own are left out, it is still being made."""
    found = []
    for folder in (story.exp.stamps, *sorted(story.exp.root.glob("controls/*/stamps"))):
        of = story.recipe if folder == story.exp.stamps else folder.parent.name
        for file in sorted(folder.glob("[1-6]_*.json")):
            stamp = story.attempt(f"Time of {of}, {file.stem}", _object, file) or {}
            seconds = number(stamp.get("seconds"))
            if seconds is not None:
                found.append(Time(file.stem.replace("_", " "), of, seconds, bool(stamp.get("done"))))
    return found


def selection_counts(story: Story, number_: int) -> dict[str, int]:
    """How many labels and synthetic utterances a round kept and rejected: `labels_kept`, ..."""
    counts = {}
    for file in sorted((story.exp.round(number_) / "selection").glob("*.tsv")):
        with open(file, "rb") as lines:
            counts[file.stem] = max(0, sum(1 for _ in lines) - 1)
    return counts


def about(story: Story) -> dict[str, Any]:
    """What `run` recorded beside the models: command line, versions; empty where an older version did not."""
    file = story.exp.root / "experiment.json"
    return story.attempt("Command line and versions (experiment.json)", _object, file) or {}


def _object(file: Path) -> dict[str, Any]:
    return dict(read_json(file))


def commands(story: Story, recorded: dict[str, Any]) -> list[str]:
    """Command lines that make this experiment and its report, to be copied."""
    words = recorded.get("command")
    typed = [str(word) for word in words] if isinstance(words, list) and words else ["run", "--corpus", story.exp.corpus]
    return [again(typed), f"python -m cycle report {shlex.quote(folder_of(typed, story.exp.corpus))}"]
