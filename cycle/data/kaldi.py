"""The only reader and writer of data directories: wav.scp, text, utt2spk, spk2utt, utt2dur, and our own `tokens` and `references`.

Kaldi's form (one `id value` a line, UTF-8, sorted as the C locale sorts), without its shell pipes: a path is the whole rest of
the line, so spaces and quotes are part of it, and a line that ends in `|` is refused and never run. A speech pool has no
`text` and no `tokens`, a text pool nothing but these two. Where utterances have several texts (captions), `references` holds all of
them, spelled, as a JSON list.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cycle.data.types import Utterance
from cycle.errors import UserError
from cycle.files import atomic_dir, atomic_write

FILES = ("wav.scp", "text", "tokens", "references", "utt2spk", "spk2utt", "utt2dur")
SPACE = re.compile(r"[ \t]")  # what parts an id from its value; the value keeps its own
NOBODY = "-"  # the speaker of a text that nobody said, or of a recording of nobody known


@dataclass(frozen=True)
class Fault:
    """One mistake in a file; `line` counts from 1, None where it is the whole file."""

    file: Path
    line: int | None
    what: str
    remedy: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.what}, {self.remedy}".split())

    def error(self) -> UserError:
        return UserError(self.what, self.where, self.remedy)


@dataclass(frozen=True)
class Row:
    line: int
    key: str
    value: str


def bad_id(name: str) -> str | None:
    """Why a name is no id of an utterance or speaker; None where it is one."""
    if not name:
        return "is empty"
    if "/" in name or "\\" in name or name in (".", ".."):
        return "holds a path separator"
    if any(c.isspace() or unicodedata.category(c)[0] == "C" for c in name):
        return "holds white space or a control character"
    return None


def as_id(name: str) -> str:
    """A name made into an id: path separators become `-`, white space and control characters `_`."""
    flat = "".join("-" if c in "/\\" else "_" if c.isspace() or unicodedata.category(c)[0] == "C" else c for c in name)
    return flat if bad_id(flat) is None else f"_{flat}".replace("_..", "_").replace("_.", "_")


def bad_path(path: str) -> str | None:
    """Why a path cannot stand in wav.scp; None where it can."""
    if path.rstrip().endswith("|") or path.startswith("|"):
        return "is a pipe, which is never run"
    if "\n" in path or "\r" in path:
        return "holds a line break"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None


def parse(path: Path) -> tuple[list[Row], list[Fault]]:
    """Reads one `id value` file: what could be read, and everything that is wrong with its form."""
    rows, faults = parse_lines(path)
    return rows, faults + _order(path, rows)


def parse_lines(path: Path) -> tuple[list[Row], list[Fault]]:
    """The same without regard to order and duplicates."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return [], [Fault(path, None, f"cannot be read ({error.strerror})", "run stage 1 again or mend the file")]
    rows: list[Row] = []
    faults: list[Fault] = []
    lines = raw.split(b"\n")
    if raw.startswith(codecs.BOM_UTF8):
        faults.append(Fault(path, 1, "begins with a byte order mark", "save the file as UTF-8 without one"))
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    for number, data in enumerate(lines[:-1] if lines[-1] == b"" else lines, 1):
        try:
            key, _, value = SPACE.sub(" ", data.decode("utf-8"), count=1).partition(" ")
        except UnicodeDecodeError:
            faults.append(Fault(path, number, "is not UTF-8", "save the file as UTF-8"))
            continue
        wrong = bad_id(key)
        if wrong:
            faults.append(Fault(path, number, f"the id {wrong}", "write one `id value` a line"))
        elif not value.strip():
            faults.append(Fault(path, number, f"{key} has no value", "add it or remove the line from every file"))
        elif value.endswith("\r"):
            faults.append(Fault(path, number, "ends in a carriage return", "save the file with Unix line ends"))
        else:
            rows.append(Row(number, key, value))
    return rows, faults


def _order(path: Path, rows: list[Row]) -> list[Fault]:
    """Duplicates, each; and the first line that is out of order."""
    faults: list[Fault] = []
    first: dict[str, int] = {}
    sorted_so_far = True
    for before, row in zip([None, *rows], rows, strict=False):
        if row.key in first:
            faults.append(Fault(path, row.line, f"{row.key} stands on line {first[row.key]} already", "keep one of them"))
        first.setdefault(row.key, row.line)
        if sorted_so_far and before and row.key < before.key:  # code points sort as UTF-8 bytes do
            faults.append(Fault(path, row.line, f"{row.key} is out of order", "sort the file with LC_ALL=C sort"))
            sorted_so_far = False
    return faults


def _table(path: Path) -> dict[str, Row]:
    rows, faults = parse(path)
    if faults:
        raise faults[0].error()
    return {row.key: row for row in rows}


def _same_ids(a: Path, a_rows: Mapping[str, Row], b: Path, b_rows: Mapping[str, Row]) -> None:
    missing = sorted(a_rows.keys() - b_rows.keys())
    if missing:
        where = f"{a}:{a_rows[missing[0]].line}"
        raise UserError(f"{missing[0]} is not in {b.name} ({len(missing)} such)", where, "run stage 1 again or add them")


def read(directory: Path) -> list[Utterance]:
    """Utterances of a data directory, sorted by id. Paths are taken as they stand; nothing is opened or run.

    Raises:
        UserError: no such directory, a malformed line, a pipe, or files that hold different utterances.
    """
    names = [name for name in ("wav.scp", "text") if (directory / name).is_file()]
    if not names:
        raise UserError("is no data directory: it has neither wav.scp nor text", directory, "run stage 1 first")
    tables = {name: _table(directory / name) for name in names}
    if "wav.scp" in tables:
        tables |= {name: _table(directory / name) for name in ("utt2spk", "utt2dur") if (directory / name).is_file()}
    for name, other in ((a, b) for a in tables for b in tables if a != b):
        _same_ids(directory / name, tables[name], directory / other, tables[other])
    wavs, texts, spks, durs = (tables.get(name) for name in ("wav.scp", "text", "utt2spk", "utt2dur"))
    for row in (wavs or {}).values():
        if wrong := bad_path(row.value):
            raise UserError(f"{row.key}'s path {wrong}", f"{directory / 'wav.scp'}:{row.line}", "give the path of a recording")
    return [
        Utterance(
            key,
            spks[key].value.strip() if spks else NOBODY,
            Path(wavs[key].value) if wavs else None,
            texts[key].value.strip() if texts else None,
            _seconds(directory / "utt2dur", durs[key]) if durs else None,
        )
        for key in sorted(tables[names[0]])
    ]


def _seconds(path: Path, row: Row) -> float:
    try:
        return float(row.value)
    except ValueError as error:
        raise UserError(f"{row.value.strip()!r} is no number of seconds", f"{path}:{row.line}", "write the length in seconds") from error


def read_tokens(directory: Path) -> dict[str, str]:
    """Spelled text of every utterance: tokens joined by single spaces.

    Raises:
        UserError: no such file, or a malformed line.
    """
    return read_table(directory / "tokens")


def read_references(directory: Path) -> dict[str, list[str]]:
    """All spelled texts of every utterance, its own alone where the directory holds no further ones.

    Raises:
        UserError: no `tokens`, or a malformed line.
    """
    path = directory / "references"
    if not path.is_file():
        return {key: [text] for key, text in read_tokens(directory).items()}
    return {key: texts_of(path, row) for key, row in _table(path).items()}


def texts_of(path: Path, row: Row) -> list[str]:
    """The texts of one line of `references`.

    Raises:
        UserError: it is no JSON list of texts, or holds none.
    """
    try:
        texts = json.loads(row.value)
    except json.JSONDecodeError:
        texts = None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.split() for text in texts):
        raise UserError(f"{row.key} has no list of texts", f"{path}:{row.line}", 'write ["one text", "another text"], none of them empty')
    return texts


def read_table(path: Path) -> dict[str, str]:
    """Any `id value` file as a mapping.

    Raises:
        UserError: no such file, or a malformed line.
    """
    return {key: row.value.strip() for key, row in _table(path).items()}


def write_table(path: Path, table: Mapping[str, str]) -> None:
    """Writes an `id value` file, sorted, atomically. Raises ValueError for what the form cannot hold."""
    for key, value in table.items():
        if bad_id(key) or not value.strip() or "\n" in value or "\r" in value:
            raise ValueError(f"{key!r} {value!r} does not fit on one line")
    with atomic_write(path) as handle:
        handle.writelines(f"{key} {table[key]}\n" for key in sorted(table))


def write(
    directory: Path, utterances: Iterable[Utterance], tokens: Mapping[str, str], references: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Writes a data directory that takes the place of an older one at once.

    Args:
        utterances: all with a recording, or none; all with text, or none; ids distinct.
        tokens: spelled text by id, for exactly the utterances with text.
        references: all spelled texts by id, for the same utterances, where any has several.

    Raises:
        ValueError: anything else.
    """
    given = list(utterances)
    utts = {u.utt_id: u for u in given}
    wavs = {k: str(u.wav) for k, u in utts.items() if u.wav is not None}
    texts = {k: u.text for k, u in utts.items() if u.text is not None}
    if len(utts) != len(given):
        raise ValueError("two utterances have one id")
    if len(wavs) not in (0, len(utts)) or len(texts) not in (0, len(utts)) or texts.keys() != tokens.keys():
        raise ValueError("a pool has recordings for all or none, text for all or none, and tokens where it has text")
    if references is not None and references.keys() != texts.keys():
        raise ValueError("a pool has references for exactly what has text")
    if wrong := next((path for path in wavs.values() if bad_path(path)), None):
        raise ValueError(f"{wrong!r} does not fit into wav.scp")
    with atomic_dir(directory) as aside:
        if texts or not utts:
            write_table(aside / "text", texts)
            write_table(aside / "tokens", {k: tokens[k] for k in texts})
            if references:
                write_table(aside / "references", {k: json.dumps(list(several), ensure_ascii=False) for k, several in references.items()})
        if wavs:
            write_table(aside / "wav.scp", wavs)
            _write_speakers(aside, utts)
            write_table(aside / "utt2dur", {k: f"{u.seconds:.6f}" for k, u in utts.items() if u.seconds is not None})


def _write_speakers(directory: Path, utts: Mapping[str, Utterance]) -> None:
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for key in sorted(utts):
        by_speaker[utts[key].spk].append(key)
    write_table(directory / "utt2spk", {k: u.spk for k, u in utts.items()})
    write_table(directory / "spk2utt", {spk: " ".join(keys) for spk, keys in by_speaker.items()})
