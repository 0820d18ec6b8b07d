"""mini: sentences of a closed world, spoken by espeak-ng on the spot. A synthetic demonstration, no human speech."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.data import transcripts
from cycle.data.g2p import numbered
from cycle.data.kaldi import NOBODY, Fault, write_table
from cycle.data.types import Utterance
from cycle.files import atomic_dir, read_json, write_json
from local.closed_world import both_ends, sentences
from local.espeak import casual, speak_all
from local.sizes import told

SPLITS = ("all", "text")


def utterances(root: Path, split: str, options: dict[str, Any]) -> Iterator[Utterance | Fault]:
    if split == "text":
        return (Utterance(f"text-{n:06d}", NOBODY, None, sentence) for n, sentence in enumerate(reversed(sentences())))
    sounds = {path.stem: path for path in root.glob("*.wav")}
    return transcripts.join(sounds, transcripts.read(root / "text", "kaldi"), lambda key: key.partition("-")[0])


def fetch(target: Path, options: dict[str, Any]) -> Path:
    """Speaks as many sentences as the pools want: from both ends of their order, as the pools are filled."""
    sizes = told(options["pools"], ("paired", "speech", "dev", "test"))
    low, high = sizes["test"] + sizes["dev"] + sizes["paired"], sizes["speech"]
    wanted = {"low": low, "high": high} | {key: options[key] for key in ("voices", "seed")}
    if (target / "corpus.json").is_file() and read_json(target / "corpus.json") == wanted:
        return target
    said = enumerate(both_ends(low, high))
    jobs = {casual(f"{n:06d}", t, " ".join(numbered(t)), options["voices"], options["seed"]): t for n, t in said}
    with atomic_dir(target) as folder:
        speak_all(jobs, folder)
        write_table(folder / "text", {Path(job.wav).stem: text for job, text in jobs.items()})
        write_json(folder / "corpus.json", wanted)
    return target
