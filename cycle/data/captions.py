"""Caption files: a CSV with a name and several captions a clip, in one row (`caption_1`, `caption_2`, ...) or in a row each (`caption`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from cycle.data import kaldi
from cycle.data.kaldi import NOBODY, Fault
from cycle.data.types import Utterance
from cycle.errors import UserError

NAMES = ("file_name", "youtube_id")  # how corpora call the column that tells clips apart


def read(path: Path) -> dict[str, list[str]]:
    """Captions by clip, in the file's order, as they stand: quotes and line breaks are CSV's to take away, empty ones are left out.

    Rows of one clip are put together; a clip of which all captions are empty keeps an empty list.

    Raises:
        UserError: unreadable, not UTF-8, no such columns, or a row that is torn; names file and line.
    """
    found: dict[str, list[str]] = {}
    for number, name, texts in _rows(path):
        if not name.strip():
            raise UserError("the row names no clip", f"{path}:{number}", f"fill the column {' or '.join(NAMES)}")
        found.setdefault(name.strip(), []).extend(text for text in texts if text.strip())
    return found


def _rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, name and captions of each row."""
    number = 1
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle, strict=True)
            header = [column.strip().casefold() for column in next(rows, [])]
            name = next((header.index(known) for known in NAMES if known in header), None)
            places = [i for i, column in enumerate(header) if column.startswith("caption")]
            if name is None or not places:
                raise UserError(
                    "has no columns for names and captions", f"{path}:1", "its first row must be file_name,caption_1,caption_2,..."
                )
            for row in rows:
                number, end = number + 1, rows.line_num
                if row and len(row) != len(header):
                    raise UserError(
                        f"the row has {len(row)} fields, the first row {len(header)}", f"{path}:{number}", "put quotes around commas"
                    )
                if row:
                    yield number, row[name], [row[i] for i in places]
                number = end
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "give the corpus as its upstream ships it: --data DIR") from error
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", path, "save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"is no CSV ({error})", f"{path}:{number + 1}", "close its quotes") from error


def clips(path: Path, audio: Path) -> Iterator[Utterance | Fault]:
    """The clips of a caption file; nobody speaks in them.

    Args:
        audio: the folder of the recordings that it names.
    """
    for name, texts in read(path).items():
        wav = audio / name
        yield Utterance(kaldi.as_id(wav.stem), NOBODY, wav, texts[0] if texts else None, others=tuple(texts[1:]))
