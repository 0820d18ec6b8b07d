"""Transcript files of any common form, line by line.

Kaldi `text` (`id words`), tables with a header (TSV, CSV, Common Voice), without one `file.wav,text` and, parted by tabs or by `|`,
`id text`, `id speaker text` and `id text speaker`, LJSpeech's `id|text|text`, JSON lines, Sphinx's `words (id)`. A byte order mark and
Windows line ends are taken off; a line that cannot be read becomes a Fault and the rest goes on.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cycle.data.audio import EXTENSIONS
from cycle.data.kaldi import NOBODY, Fault
from cycle.data.types import Utterance
from cycle.errors import UserError

FIRST, MOST = 20, 0.8  # lines, and the share of them, that tell a form: a bad one among them does not hide it
MANY = 2000  # lines that tell whether a column names speakers
# Names of columns and keys, in order of preference.
AUDIO = ("audio_filepath", "audio", "path", "audio_path", "audio_file", "wav", "wav_filename", "file", "filename", "file_name", "file_path",
         "clip", "recording", "key", "utt_id", "utterance_id", "utt", "id")  # fmt: skip
LINES, LONGEST = 20, 100_000  # lines and characters of a quoted field
TEXT = ("sentence", "text", "normalized_text", "transcript", "transcription", "transcripts", "words", "raw_transcription")
SPEAKER = ("client_id", "speaker", "speaker_id", "spk", "spk_id", "speaker_name", "user_id", "reader")
SPHINX = re.compile(r"(?P<text>.*?)\s*\((?P<key>[^()\s]+)\)\s*$")


@dataclass(frozen=True)
class Line:
    """What one line of a transcript file says: an id or path of a recording, its text, perhaps who speaks."""

    key: str
    text: str
    spk: str | None = None


def lines(path: Path) -> Iterator[tuple[int, str] | Fault]:
    """Lines with their numbers, without their ends; those that are empty are passed over. Files that end in .gz are unpacked as read.

    Raises:
        UserError: no such file, UTF-16, or an archive cut short.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as handle:
            for number, data in enumerate(handle, 1):
                if number == 1 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise UserError("is UTF-16", path, "save it as UTF-8")
                try:
                    line = data.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                except UnicodeDecodeError:
                    yield Fault(path, number, "is not UTF-8", "save the file as UTF-8")
                    continue
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None  # none where it is no archive
        remedy = "give the folder that holds the corpus: --data DIR" if reason else "fetch or pack it again"
        raise UserError(f"cannot be read ({reason or error})", path, remedy) from error


def form_of(path: Path) -> str:
    """The form of a file, told by its first lines: one of SPLIT, or `table`.

    Raises:
        UserError: an array of JSON, or columns of which nobody can tell what they are.
    """
    head = [line for line in islice(lines(path), FIRST) if not isinstance(line, Fault)]
    first = head[0][1] if head else ""
    if first.lstrip().startswith("{"):
        return "json"
    if re.fullmatch(r"\s*\[\s*(\{.*)?", first):
        raise UserError("is one JSON array", path, "write JSON lines: an object a line, without commas between them")
    if _columns(first):
        return "table"
    if head and all(SPHINX.match(line) for _, line in head):
        return "sphinx"
    texts = [line for _, line in head]
    for mark, form in (("|", "pipe"), ("\t", "tab")):
        if _mostly(mark in line for line in texts):
            more = (line for line in islice(lines(path), MANY) if not isinstance(line, Fault))
            return _with_speakers(form, [[field.strip() for field in line.split(mark)] for _, line in more], path)
    return "comma" if _mostly(Path(line.split(",")[0].strip('" ')).suffix.lower() in EXTENSIONS for line in texts) else "kaldi"


def _mostly(answers: Iterable[bool]) -> bool:
    given = list(answers)
    return bool(given) and sum(given) >= MOST * len(given)


def _with_speakers(form: str, rows: list[list[str]], path: Path) -> str:
    """Which of three columns names the speaker: a name that comes again, and no word of the text. LJSpeech's has the text twice."""
    whole = [row for row in rows if len(row) == 3]
    if _mostly(len(row) == 3 for row in rows):
        middle, last = (_are_names([row[place] for row in whole]) for place in (1, 2))
        if middle and (form == "tab" or not last):
            return f"speaker-{form}"
        if last and not middle:
            return f"{form}-speaker"
    if form == "tab" and _mostly(len(row) > 2 for row in rows):
        what = "has more than two columns, and none of them names speakers"
        raise UserError(what, f"{path}:1", "say what they are in a first line: path, speaker, text")
    return form


def _are_names(fields: list[str]) -> bool:
    """Whether these come again, as speakers do; numbers with a point are seconds."""
    words = all(field and " " not in field and not re.fullmatch(r"\d*[.,]\d+", field) for field in fields)
    return words and len(set(fields)) <= len(fields) / 2


def _columns(header: str) -> tuple[str, dict[str, int]] | None:
    """The delimiter of a header and where its columns are, None for a line that names no columns for recordings and text."""
    for mark in "\t", ",", "|", ";":
        names = [name.strip().strip('"').lower().replace(" ", "_") for name in header.split(mark)]
        found = {kind: next((names.index(name) for name in known if name in names), -1) for kind, known in
                 (("key", AUDIO), ("text", TEXT), ("spk", SPEAKER))}  # fmt: skip
        if len(names) > 1 and found["key"] >= 0 and found["text"] >= 0:
            return mark, {**found, "width": len(names)}
    return None


def read(path: Path, form: str | None = None) -> Iterator[Line | Fault]:
    """What every line says, in the file's order; doubled ids are left for stage 1 to find.

    Args:
        form: see `form_of`, which tells it unless given.

    Raises:
        UserError: no such file.
    """
    form = form or form_of(path)
    rows = lines(path)
    if form == "table":
        yield from _table(path, rows)
        return
    split = SPLIT[form]
    for row in rows:
        if isinstance(row, Fault):
            yield row
        else:
            yield split(row[1]) or Fault(path, row[0], f"is no line of the form {form!r}", "mend it or take it out")


def _kaldi(line: str) -> Line | None:
    key, *text = line.split(None, 1)
    return Line(key, text[0].strip() if text else "")


def _pipe(line: str) -> Line | None:
    """LJSpeech's: id, text as written, text as read."""
    key, *texts = (part.strip() for part in line.split("|"))
    said = [text for text in texts if text]
    return Line(key, said[-1] if said else "") if key and texts else None


def _tab(line: str) -> Line | None:
    key, mark, text = line.partition("\t")
    return Line(key.strip(), " ".join(text.split())) if key.strip() and mark else None


def _three(mark: str, text: int, spk: int) -> Callable[[str], Line | None]:
    """Lines of three columns, and the places of two of them."""

    def split(line: str) -> Line | None:
        fields = [" ".join(field.split()) for field in line.split(mark)]
        return Line(fields[0], fields[text], fields[spk] or None) if len(fields) == 3 and fields[0] else None

    return split


def _comma(line: str) -> Line | None:
    """File and text; a text with commas should be quoted, but need not be."""
    key, *text = next(csv.reader([line]))
    return Line(key.strip(), ",".join(text).strip()) if key.strip() and text else None


def _sphinx(line: str) -> Line | None:
    match = SPHINX.match(line)
    return Line(match["key"], " ".join(re.sub(r"</?s>|<sil>|\(\d+\)", " ", match["text"]).split())) if match else None


def _json(line: str) -> Line | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    row = {str(key).lower(): value for key, value in row.items()}
    key, text, spk = (next((row[name] for name in names if isinstance(row.get(name), str | int)), None) for names in (AUDIO, TEXT, SPEAKER))
    return Line(str(key), str(text), None if spk is None else str(spk)) if key is not None and text is not None else None


def _table(path: Path, rows: Iterator[tuple[int, str] | Fault]) -> Iterator[Line | Fault]:
    """A table whose header names its columns. Quotes mean something in CSV alone: sentences in TSV may begin with one."""
    header = next(rows, None)
    columns = _columns(header[1]) if isinstance(header, tuple) else None
    if columns is None:
        raise UserError("has no header that names columns for recordings and text", f"{path}:1", f"call them {AUDIO[0]} and {TEXT[0]}")
    mark, at = columns
    for row in _whole(path, rows, mark) if mark in ",;" else rows:
        if isinstance(row, Fault):
            yield row
            continue
        try:
            fields = next(csv.reader(_lines(row[1]), delimiter=mark)) if mark in ",;" else row[1].split(mark)
        except csv.Error:  # a field that is too long
            fields = []
        if len(fields) != at["width"]:
            yield Fault(path, row[0], f"has {len(fields)} columns, the header {at['width']}", "take the extra tab or delimiter out")
        else:
            spk = fields[at["spk"]].strip() if at["spk"] >= 0 else None
            yield Line(fields[at["key"]].strip(), " ".join(fields[at["text"]].split()), spk or None)


def _whole(path: Path, rows: Iterator[tuple[int, str] | Fault], mark: str) -> Iterator[tuple[int, str] | Fault]:
    """Lines of a CSV file, those joined that a quoted field goes on over; a quote that does not end soon is an accident."""
    waiting: list[tuple[int, str] | Fault] = []
    while row := waiting.pop(0) if waiting else next(rows, None):
        if isinstance(row, Fault) or not _open(row[1], mark):
            yield row
            continue
        waiting += islice(rows, max(0, LINES - len(waiting)))
        for n in range(1, len(waiting) + 1):
            more = waiting[:n]
            text = "\n".join([row[1], *(line[1] for line in more if not isinstance(line, Fault))])
            if len(text) < LONGEST and not _open(text, mark):
                yield from (fault for fault in more if isinstance(fault, Fault))
                yield row[0], text
                del waiting[:n]
                break
        else:
            yield Fault(path, row[0], "opens a quote that does not end", "end it, or double the quotes inside")


def _open(text: str, mark: str) -> bool:
    """Whether a quoted field of a CSV line goes on in the next one."""
    try:
        next(csv.reader(_lines(text), delimiter=mark, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _lines(text: str) -> io.StringIO:
    """For a CSV reader. Only a line feed parts lines: `str.splitlines` knows nine more characters, some of which stand in sentences."""
    return io.StringIO(text, newline="\n")


def join(sounds: Mapping[str, Path], said: Iterable[Line | Fault], speaker: Callable[[str], str]) -> Iterator[Utterance | Fault]:
    """One utterance for each recording and each text; a half that is missing stays None, for stage 1 to count. Faults come first."""
    by_id: dict[str, list[Line]] = defaultdict(list)
    for line in said:
        if isinstance(line, Fault):
            yield line
        else:
            by_id[line.key].append(line)
    for key in sorted(sounds.keys() | by_id.keys()):
        for said_so in by_id.get(key, [None]):
            spk = said_so.spk if said_so and said_so.spk else speaker(key)
            yield Utterance(key, spk, sounds.get(key), said_so.text if said_so else None)


def spoken(said: Iterable[Line | Fault]) -> Iterator[Utterance | Fault]:
    """The text alone of a transcript."""
    return (line if isinstance(line, Fault) else Utterance(line.key, NOBODY, None, line.text) for line in said)


def sentences(path: Path, share: float = 1.0) -> Iterator[Utterance | Fault]:
    """A file of one sentence a line, of any size: it is streamed, and nothing of it is kept.

    Args:
        share: how many of the lines are drawn, by a hash of each; for files that are sorted and far larger than the pool.
    """
    for row in lines(path):
        if isinstance(row, Fault):
            yield row
        elif share >= 1 or zlib.crc32(row[1].encode()) < share * 2**32:
            yield Utterance(f"text-{row[0]:08d}", NOBODY, None, row[1])


SPLIT: dict[str, Callable[[str], Line | None]] = {
    "kaldi": _kaldi, "pipe": _pipe, "tab": _tab, "comma": _comma, "json": _json, "sphinx": _sphinx,
    "speaker-tab": _three("\t", 2, 1), "tab-speaker": _three("\t", 1, 2),
    "speaker-pipe": _three("|", 2, 1), "pipe-speaker": _three("|", 1, 2),
}  # fmt: skip
