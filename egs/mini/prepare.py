"""mini: sentences of a closed world, spoken by espeak-ng on the spot. A synthetic demonstration, no human speech."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data.g2p import numbered
from cycle.data.types import Utterance
from cycle.files import atomic_dir, read_json, read_jsonl, write_json, write_jsonl
from local.closed_world import sentences
from local.espeak import casual, speak_all

SPLITS = ("all", "text")


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance]:
    if split == "all":
        for row in read_jsonl(root / "transcripts.jsonl"):
            yield Utterance(row["wav"].removesuffix(".wav"), row["spk"], root / row["wav"], row["text"])
    else:
        for number, sentence in enumerate(reversed(sentences())):
            yield Utterance(f"text-{number:06d}", "-", None, sentence)


def fetch(target: Path, options: dict[str, Any]) -> Path:
    """Speaks as many sentences as the pools want: from both ends of their order, as the pools are filled."""
    sizes, world = options["pools"], sentences()
    low = min(sizes["test"] + sizes["dev"] + sizes["paired"], len(world))
    wanted = {"low": low, "high": min(sizes["speech"], len(world) - low), "voices": options["voices"], "seed": options["seed"]}
    if (target / "corpus.json").is_file() and read_json(target / "corpus.json") == wanted:
        return target
    said = list(enumerate([*world[:low], *world[len(world) - wanted["high"] :]]))
    jobs = [casual(f"{number:06d}", text, " ".join(numbered(text)), options["voices"], options["seed"]) for number, text in said]
    with atomic_dir(target) as folder:
        speak_all(jobs, folder)
        write_jsonl(folder / "transcripts.jsonl", ({"wav": j.wav, "spk": j.spk, "text": t} for j, (_, t) in zip(jobs, said, strict=True)))
        write_json(folder / "corpus.json", wanted)
    return target
