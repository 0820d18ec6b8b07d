"""What can be wrong with one data directory: a list of checks, each a function that yields faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cycle.data import audio, kaldi
from cycle.data.audio import BadAudio, Recording
from cycle.data.kaldi import Fault, Row
from cycle.data.types import BLANK, END, UNKNOWN
from cycle.errors import UserError

REQUIRED = {"wav.scp": ("utt2spk", "spk2utt"), "tokens": ("text",), "utt2spk": ("wav.scp",)}
SPECIAL = frozenset([BLANK, UNKNOWN, END])


@dataclass(frozen=True)
class Directory:
    """A data directory as far as it could be read.

    Attributes:
        rows: lines by file name, then by id; of files that exist.
        faults: what was wrong with the form of the lines.
        sounds: recordings that decode, by id.
        bad: why others do not, by id.
        alphabet: the tokens that models know, None where there is no such list yet.
        official: an evaluation set that stands as published: what is hard in it is no fault.
        pool: made by stage 1, which spells every text.
        fs, hop: of the features that are made of it, in Hz and samples.
    """

    path: Path
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    sounds: dict[str, Recording] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    alphabet: frozenset[str] | None = None
    official: bool = False
    pool: bool = False
    fs: int = 16000
    hop: int = 256

    def at(self, name: str, key: str) -> tuple[Path, int | None]:
        return self.path / name, self.rows[name][key].line


def load(path: Path, decode: bool = True) -> Directory:
    """Reads all files of a data directory and its recordings, keeping faults; `decode=False` only looks whether recordings are there."""
    rows, faults = {}, []
    for name in kaldi.FILES:
        if (path / name).is_file():
            lines, wrong = kaldi.parse(path / name)
            rows[name] = dict(reversed({row.key: row for row in reversed(lines)}.items()))  # the first of duplicates counts
            faults += wrong
    sounds, bad = _listen(rows.get("wav.scp", {}), decode)
    return Directory(path, rows, faults, sounds, bad)


def _listen(rows: dict[str, Row], decode: bool) -> tuple[dict[str, Recording], dict[str, str]]:
    keys = [key for key, row in rows.items() if not kaldi.bad_path(row.value)]
    found = dict(zip(keys, listen([Path(rows[key].value) for key in keys], decode), strict=True))
    sounds = {key: value for key, value in found.items() if isinstance(value, Recording)}
    return sounds, {key: value for key, value in found.items() if isinstance(value, str)}


def listen(paths: Iterable[Path], decode: bool = True) -> list[Recording | str | None]:
    """Each recording, or why it cannot be used; None for one that is there and was not decoded."""

    def look(path: Path) -> Recording | str | None:
        try:
            if decode:
                return audio.inspect(path)
            return None if path.is_file() else "no such file"
        except (BadAudio, OSError) as error:
            return str(error)

    with ThreadPoolExecutor() as workers:  # decoding leaves Python's lock
        return list(workers.map(look, paths))


def form(d: Directory) -> Iterator[Fault]:
    """Encoding, ids, order, duplicates, as found while reading."""
    yield from d.faults


def complete(d: Directory) -> Iterator[Fault]:
    """Files that others need, and files without a line."""
    required = {**REQUIRED, "text": ("tokens",)} if d.pool else REQUIRED
    for name, rows in d.rows.items():
        for other in required.get(name, ()):
            if other not in d.rows:
                yield Fault(d.path / other, None, f"is missing, {name} needs it", "run stage 1 again or write it")
        if not rows and not any(f.file.name == name for f in d.faults):
            yield Fault(d.path / name, None, "is empty", "fill it or remove the directory")


def same_ids(d: Directory) -> Iterator[Fault]:
    """Every file holds the same utterances: audio without text, text without audio and so on."""
    reference = "wav.scp" if "wav.scp" in d.rows else "text"
    for name in d.rows:
        if name in (reference, "spk2utt") or reference not in d.rows:
            continue
        for key in sorted(d.rows[reference].keys() - d.rows[name].keys()):
            yield Fault(*d.at(reference, key), f"{key} is not in {name}", f"add it to {name} or remove it here")
        for key in sorted(d.rows[name].keys() - d.rows[reference].keys()):
            yield Fault(*d.at(name, key), f"{key} is not in {reference}", f"add it to {reference} or remove it here")


def speakers(d: Directory) -> Iterator[Fault]:
    """spk2utt is utt2spk turned round."""
    if not {"utt2spk", "spk2utt"} <= d.rows.keys():
        return
    claimed = {(utt, spk) for spk, row in d.rows["spk2utt"].items() for utt in row.value.split()}
    true = {(utt, row.value.strip()) for utt, row in d.rows["utt2spk"].items()}
    for utt, spk in sorted(claimed - true):
        yield Fault(*d.at("spk2utt", spk), f"{utt} is not said by {spk} in utt2spk", "make spk2utt from utt2spk")
    for utt, spk in sorted(true - claimed):
        yield Fault(*d.at("utt2spk", utt), f"{utt} of {spk} is not in spk2utt", "make spk2utt from utt2spk")
    for utt, row in d.rows["utt2spk"].items():
        if wrong := kaldi.bad_id(row.value.strip()):
            yield Fault(*d.at("utt2spk", utt), f"the speaker {wrong}", "name the speaker without it")


def durations(d: Directory) -> Iterator[Fault]:
    """utt2dur holds positive seconds."""
    for utt, row in d.rows.get("utt2dur", {}).items():
        try:
            good = 0 < float(row.value) < float("inf")
        except ValueError:
            good = False
        if not good:
            yield Fault(*d.at("utt2dur", utt), f"{row.value.strip()!r} is no length in seconds", "write the length of the recording")


def recordings(d: Directory) -> Iterator[Fault]:
    """Paths that are no pipes, and recordings that decode to something audible."""
    for key, row in d.rows.get("wav.scp", {}).items():
        if wrong := kaldi.bad_path(row.value):
            yield Fault(*d.at("wav.scp", key), f"{key}'s path {wrong}", "give the path of a recording")
        elif key in d.bad:
            yield Fault(*d.at("wav.scp", key), f"{key}: {row.value}: {d.bad[key]}", "mend the recording or remove its lines")


def clipped(d: Directory) -> Iterator[Fault]:
    """Recordings that were too loud for their format."""
    for key, sound in d.sounds.items():
        if sound.clipped > audio.CLIPPED and not d.official:
            what = f"{key} is clipped ({100 * sound.clipped:.0f} % of its samples lie flat at the peak)"
            yield Fault(*d.at("wav.scp", key), what, "record it again with less gain, or leave it out")


def duplicated(d: Directory) -> Iterator[Fault]:
    """One recording under two names."""
    first: dict[str, str] = {}
    for key, sound in sorted(d.sounds.items()):
        if first.setdefault(sound.digest, key) != key:
            yield Fault(*d.at("wav.scp", key), f"{key} is the same recording as {first[sound.digest]}", "keep the one whose text is right")


def several(d: Directory) -> Iterator[Fault]:
    """Lists of texts that can be read, each with the utterance's own text."""
    for key, row in d.rows.get("references", {}).items():
        try:
            texts = kaldi.texts_of(d.path / "references", row)
        except UserError as error:
            yield Fault(*d.at("references", key), error.what, error.remedy or "run stage 1 again")
            continue
        own = d.rows.get("tokens", {}).get(key)
        if own and own.value.strip() not in texts:
            yield Fault(*d.at("references", key), f"{key} lacks its own text in tokens", "run stage 1 again")


def length(d: Directory) -> Iterator[Fault]:
    """Speech that is too short or much too long for its text."""
    name = "tokens" if "tokens" in d.rows else "text"
    for key, row in d.rows.get(name, {}).items() if "references" not in d.rows else ():  # several texts describe, they are not read aloud
        if key not in d.sounds or d.official:
            continue
        seconds = d.sounds[key].seconds
        units = row.value.split() if name == "tokens" else list("".join(row.value.split()))
        short = audio.too_short(seconds, units, d.fs, d.hop)
        if short or audio.too_long(seconds, units):
            much = "short" if short else "long"
            yield Fault(*d.at(name, key), f"{key} lasts {seconds:.2f} s, too {much} for its text", "give it its own text, or leave it out")


def known_tokens(d: Directory) -> Iterator[Fault]:
    """Tokens that are in the list that the models were made with."""
    for key, row in d.rows.get("tokens", {}).items() if d.alphabet is not None else ():
        if strange := sorted(set(row.value.split()) - (d.alphabet or set()) | set(row.value.split()) & SPECIAL):
            what = f"{key} has {', '.join(map(repr, strange[:5]))} outside the token list"
            yield Fault(*d.at("tokens", key), what, "leave it out, or run stage 2 again: --stage 2 --redo")


CHECKS: list[Callable[[Directory], Iterable[Fault]]] = [
    form, complete, same_ids, speakers, durations, recordings, clipped, duplicated, several, length, known_tokens,
]  # fmt: skip


def faults_of(d: Directory) -> list[Fault]:
    """All faults of one data directory, by file and line."""
    found = {fault for check in CHECKS for fault in check(d)}
    return sorted(found, key=lambda f: (str(f.file), f.line or 0, f.what))
