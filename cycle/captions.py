"""`captions`: scores a file of captions against another, or people against each other, without any model."""

from __future__ import annotations

import json
from pathlib import Path

from cycle.data import captions as files
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.eval import captions
from cycle.eval.cider import others


def main(references: Path, hypotheses: Path | None = None) -> int:
    """Prints scores as JSON.

    Args:
        references: a CSV of clips with their captions (see `cycle.data.captions`).
        hypotheses: another, with one caption a clip. Without it each clip's first caption is scored against its others, and clips with
            one caption are left out.

    Raises:
        UserError: a file that cannot be read, a clip without a counterpart, or references that are all empty.
    """
    truth = {clip: _spelled(texts) for clip, texts in files.read(references).items()}
    if bare := [clip for clip, texts in truth.items() if not texts]:
        raise UserError(f"all captions of clip {bare[0]!r} are empty", references, "write one, or remove the clip")
    if hypotheses is None:
        said, truth = others(truth)
        if not said:
            raise UserError("no clip has two captions", references, "give more captions, or a second file with others to score")
    else:
        said = {clip: " ".join(_spelled(texts)[:1]) for clip, texts in files.read(hypotheses).items()}
    found = captions.scores(truth, said)
    look = captions.shape(list(said.values()), list(truth.values()))
    print(json.dumps({"clips": len(said), **found.overall, **look}, indent=1))
    return 0


def _spelled(texts: list[str]) -> list[str]:
    """Normalised captions, those without a word left out."""
    spell = spelling("captions").spell
    return [" ".join(words) for text in texts if (words := spell(text))]
