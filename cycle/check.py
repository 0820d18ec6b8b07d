"""`check`: every fault of a data directory, an experiment's data or a corpus folder at once, by reading alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cycle.data import audio, kaldi
from cycle.data.kaldi import Fault, Row
from cycle.data.types import POOLS

AUDIO = frozenset([".wav", ".flac", ".mp3", ".ogg", ".opus", ".sph", ".aiff", ".aif", ".au"])
TEXTS = frozenset([".txt", ".tsv", ".csv", ".trn", ".trans", ".transcription", ".fileids", ".text"])
REQUIRED = {"wav.scp": ("utt2spk", "spk2utt"), "text": ("tokens",), "tokens": ("text",), "utt2spk": ("wav.scp",)}


@dataclass(frozen=True)
class Directory:
    """A data directory as far as it could be read.

    Attributes:
        rows: lines by file name, then by id; of files that exist.
        faults: what was wrong with the form of the lines.
        audio: whether recordings are to be decoded (or only looked for).
    """

    path: Path
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    audio: bool = True

    def at(self, name: str, key: str) -> tuple[Path, int | None]:
        return self.path / name, self.rows[name][key].line


def load(path: Path, audio: bool = True) -> Directory:
    """Reads all files of a data directory, keeping faults."""
    rows, faults = {}, []
    for name in kaldi.FILES:
        if (path / name).is_file():
            lines, wrong = kaldi.parse(path / name)
            rows[name] = {row.key: row for row in reversed(lines)}  # the first of duplicates counts
            faults += wrong
    return Directory(path, rows, faults, audio)


def form(d: Directory) -> Iterator[Fault]:
    """Encoding, ids, order, duplicates, as found while reading."""
    yield from d.faults


def complete(d: Directory) -> Iterator[Fault]:
    """Files that others need, and files without a line."""
    for name, rows in d.rows.items():
        for other in REQUIRED.get(name, ()):
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
            yield Fault(*d.at(reference, key), f"{key} is not in {name}", "add it there or remove it here")
        for key in sorted(d.rows[name].keys() - d.rows[reference].keys()):
            yield Fault(*d.at(name, key), f"{key} is not in {reference}", "add it there or remove it here")


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
    rows = list(d.rows.get("wav.scp", {}).values())
    for row in rows:
        if wrong := kaldi.bad_path(row.value):
            yield Fault(d.path / "wav.scp", row.line, f"{row.key}'s path {wrong}", "give the path of a recording")
    sound = [row for row in rows if not kaldi.bad_path(row.value)]
    for row, reason in zip(sound, _reasons([Path(row.value) for row in sound], d.audio), strict=True):
        if reason:
            yield Fault(d.path / "wav.scp", row.line, f"{row.key}: {row.value}: {reason}", "mend the recording or remove its lines")


def _reasons(paths: Iterable[Path], decode: bool) -> list[str | None]:
    """Why each recording cannot be used, None where it can."""

    def reason(path: Path) -> str | None:
        if not decode:
            return None if path.is_file() else "no such file"
        try:
            audio.inspect(path)
        except audio.BadAudio as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as workers:  # decoding leaves Python's lock
        return list(workers.map(reason, paths))


CHECKS: list[Callable[[Directory], Iterable[Fault]]] = [form, complete, same_ids, speakers, durations, recordings]


def directory_faults(path: Path, decode: bool = True) -> list[Fault]:
    """All faults of one data directory; `decode=False` only looks whether the recordings are there."""
    d = load(path, decode)
    found = [fault for check in CHECKS for fault in check(d)]
    return sorted(set(found), key=lambda f: (str(f.file), f.line or 0, f.what))


def no_leaks(pools: dict[str, Directory]) -> Iterator[Fault]:
    """What is said in dev and test is in no other pool, and the speech pool has no text."""
    for name in ("text", "tokens"):
        if "speech" in pools and name in pools["speech"].rows:
            yield Fault(pools["speech"].path / name, None, "is the text of the speech pool", "remove it, or run stage 1 again")
    for held_out in ("test", "dev"):
        secret = {row.value.strip() for row in pools[held_out].rows.get("tokens", {}).values()} if held_out in pools else set()
        for name, d in pools.items():
            for key, row in d.rows.get("tokens", {}).items() if name not in (held_out, "test") else ():
                if row.value.strip() in secret:
                    yield Fault(*d.at("tokens", key), f"{key} is said in {held_out} as well", "remove it, or run stage 1 again")


def pool_faults(parent: Path, pools: list[str]) -> list[Fault]:
    """All faults of several pools, each by itself and then between them."""
    found = [fault for pool in pools for fault in directory_faults(parent / pool)]
    return found + list(no_leaks({pool: load(parent / pool) for pool in pools}))


def is_directory_of_data(path: Path) -> bool:
    """Whether this is Kaldi's kind of folder; `text` beside recordings is a corpus's transcript, and a folder `text` is a pool."""
    if any((path / name).is_file() for name in kaldi.FILES if name != "text"):
        return True
    return (path / "text").is_file() and not any(file.suffix.lower() in AUDIO for file in path.iterdir())


def corpus_faults(path: Path) -> list[Fault]:
    """A corpus folder as its upstream ships it: recordings that decode, transcripts in UTF-8."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts))
    sounds = [p for p in files if p.suffix.lower() in AUDIO]
    found = [Fault(path, None, "holds no recordings", "give the folder that holds the corpus")] if not sounds else []
    for file, reason in zip(sounds, _reasons(sounds, True), strict=True):
        if reason:
            found.append(Fault(file, None, reason, "mend the recording or remove it"))
    for file in (p for p in files if p.suffix.lower() in TEXTS or p.name == "text"):
        found += _encoding(file)
    return found


def _encoding(path: Path) -> Iterator[Fault]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        yield Fault(path, None, f"cannot be read ({error.strerror})", "mend the file or its permissions")
        return
    for number, line in enumerate(lines, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            yield Fault(path, number, "is not UTF-8", "save the file as UTF-8")
            return


def faults(path: Path) -> list[Fault]:
    """Everything wrong with a data directory, an experiment (its `data` with several of them) or a corpus folder."""
    if not path.is_dir():
        return [Fault(path, None, "is no folder", "give a data directory, an experiment or a corpus folder")]
    if is_directory_of_data(path):
        return directory_faults(path)
    for parent in (path / "data", path):
        pools = [pool for pool in POOLS if is_directory_of_data(parent / pool)]
        if pools:
            return pool_faults(parent, pools)
    return corpus_faults(path)


def main(path: Path) -> int:
    """Prints every fault on stderr, one line each. Returns 0 where there is none, else 2."""
    found = faults(path)
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if found else 0
