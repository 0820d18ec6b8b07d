"""A few utterances as the models of the rounds see and say them, kept on disk so that a second report need not ask the models again."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycle.files import atomic_dir, read_json, write_json

Array = NDArray[np.float32]


@dataclass
class View:
    """What one round's models make of a sample.

    Attributes:
        hyp: tokens that the ASR hears: in the recording, or, where there is none, in the TTS's rendering.
        said: tokens that the TTS speaks: the sample's text, or, where it has none, `hyp`.
        spoken: (T, M) features of the rendering; `durations`: (L + 1,) frames of each token of `said` and of the end.
        labels: rows of `posteriors`: the tokens of the text, each once, and the blank.
        posteriors: (len(labels), T') CTC probabilities.
        path: (T',) states of the forced alignment of the text: 2 i + 1 while token i sounds.
        attention: (L + 1, T') weights of the decoder over the encoder's outputs.
        second: outputs of the encoder in a second.
    """

    round: int
    hyp: str = ""
    said: str = ""
    spoken: Array | None = None
    durations: Array | None = None
    labels: list[str] = field(default_factory=list)
    posteriors: Array | None = None
    path: Array | None = None
    attention: Array | None = None
    second: float = 0.0


@dataclass
class Sample:
    """One utterance.

    Attributes:
        kind: `test` (a recording with its text), `speech` (without), `text` (a sentence without a recording).
        why: it was chosen.
        tokens: of the text; empty for a recording whose text is not used.
        feats: (T, M) features of the recording; `wav` is the file it came from.
        rhythm: (L + 1,) frames of each token in the recording, by the aligner.
    """

    kind: str
    utt: str
    spk: str
    why: str
    text: str = ""
    tokens: str = ""
    wav: str | None = None
    feats: Array | None = None
    rhythm: Array | None = None
    views: list[View] = field(default_factory=list)


def write(folder: Path, samples: list[Sample], key: dict[str, Any]) -> None:
    """Keeps samples with what they were made from."""
    arrays: dict[str, Array] = {}

    def plain(item: Any, place: str) -> dict[str, Any]:
        out = {}
        for f in fields(item):
            value = getattr(item, f.name)
            if isinstance(value, np.ndarray):
                arrays[f"{place}.{f.name}"] = value.astype(np.float32)
            elif f.name != "views":
                out[f.name] = value
        return out

    listed = [plain(s, str(i)) | {"views": [plain(v, f"{i}.{j}") for j, v in enumerate(s.views)]} for i, s in enumerate(samples)]
    with atomic_dir(folder) as aside:
        np.savez_compressed(aside / "arrays.npz", **arrays)  # type: ignore[arg-type]
        write_json(aside / "samples.json", {"key": key, "samples": listed})


def read(folder: Path, key: dict[str, Any] | None = None) -> list[Sample] | None:
    """Samples that were kept; None where there are none, or where they were made from something else than `key`."""
    if not (folder / "samples.json").is_file():
        return None
    kept = read_json(folder / "samples.json")
    if key is not None and kept["key"] != key:
        return None
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:

        def filled(values: dict[str, Any], place: str) -> dict[str, Any]:
            depth = place.count(".") + 1
            found = {n.rpartition(".")[2]: arrays[n] for n in arrays.files if n.startswith(f"{place}.") and n.count(".") == depth}
            return values | found

        out = []
        for i, values in enumerate(kept["samples"]):
            views = [View(**filled(view, f"{i}.{j}")) for j, view in enumerate(values.pop("views"))]
            out.append(Sample(**filled(values, str(i)), views=views))
    return out
