"""Transcript files and the recordings they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from cycle.data.types import Utterance
from cycle.errors import UserError


def read(path: Path) -> Iterator[tuple[str, str]]:
    """`id text` lines; empty lines are passed over, doubled ids are left for stage 1 to find.

    Raises:
        UserError: no such file, or a line that is not UTF-8.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "give the folder that holds the corpus: --data DIR") from error
    for number, line in enumerate(lines, 1):
        try:
            words = line.decode("utf-8-sig" if number == 1 else "utf-8").split(None, 1)
        except UnicodeDecodeError as error:
            raise UserError("is not UTF-8", f"{path}:{number}", "save the transcripts as UTF-8") from error
        if words:
            yield words[0], words[1].strip() if len(words) > 1 else ""


def join(sounds: Mapping[str, Path], texts: Iterable[tuple[str, str]], speaker: Callable[[str], str]) -> Iterator[Utterance]:
    """One utterance for each recording and each text; a half that is missing stays None, for stage 1 to count."""
    by_id: dict[str, list[str | None]] = defaultdict(list)
    for key, said in texts:
        by_id[key].append(said)
    for key in sorted(sounds.keys() | by_id.keys()):
        for text in by_id.get(key, [None]):
            yield Utterance(key, speaker(key), sounds.get(key), text)
