"""`check`: every fault of a data directory, an experiment's data or a corpus folder at once, by reading alone."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from cycle.data import kaldi
from cycle.data.audio import EXTENSIONS
from cycle.data.faults import Directory, faults_of, listen, load
from cycle.data.folder import ROLES
from cycle.data.kaldi import Fault
from cycle.data.recordings import walk
from cycle.data.types import POOLS
from cycle.errors import UserError
from cycle.files import read_json, write_tsv

TEXTS = frozenset([".txt", ".tsv", ".csv", ".trn", ".trans", ".transcription", ".fileids", ".text", ".json", ".jsonl"])
SHOWN = 50  # faults of one kind that are printed


def held_out(name: str) -> bool:
    """Whether a set is one, by how its name begins, that nothing is trained on."""
    return name.startswith(tuple(ROLES))


def made_by_stage_1(parent: Path) -> dict[str, object]:
    """What stage 1 says about the pools in a folder; nothing where somebody else made them."""
    try:
        told = read_json(parent / "summary.json")
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) and "pools" in told else {}


def alphabet(data: Path) -> frozenset[str] | None:
    """The token list beside an experiment's data, None before stage 2."""
    try:
        return frozenset((data.parent / "tokens" / "tokens.txt").read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return None


def open_directory(path: Path, decode: bool = True) -> Directory:
    """A data directory with what the experiment around it, if any, tells about it."""
    told = made_by_stage_1(path.parent)
    known = alphabet(path.parent) if told and not held_out(path.name) else None
    official, features = told.get("official"), told.get("features")
    found = load(path, decode)
    if isinstance(features, dict):
        found = replace(found, fs=int(features["fs"]), hop=int(features["hop"]))
    return replace(found, alphabet=known, official=isinstance(official, list) and path.name in official, pool=bool(told))


def directory_faults(path: Path, decode: bool = True) -> list[Fault]:
    """All faults of one data directory; `decode=False` only looks whether the recordings are there."""
    return faults_of(open_directory(path, decode))


def no_leaks(pools: dict[str, Directory], told: dict[str, object]) -> Iterator[Fault]:
    """What is said in dev and test is in no other pool, and the speech pool has no text.

    Published evaluation sets may share texts with training: stage 1 counts them, and the error without them is scored too. No text
    pool may, since there one chooses what goes in.
    """
    official = told.get("official") or ()
    assert isinstance(official, list | tuple)
    for name in ("text", "tokens"):
        if told and "speech" in pools and name in pools["speech"].rows:
            yield Fault(pools["speech"].path / name, None, "is the text of the speech pool", "remove it, or run stage 1 again")
    for secret in filter(held_out, pools):
        spelled = "tokens" if "tokens" in pools[secret].rows else "text"
        said = {text for _, _, texts in _said(pools[secret], spelled) for text in texts}
        for name, d in pools.items():
            apart = name == "text" or (not held_out(name) and secret not in official) or (name, secret) == ("dev", "test")
            for file, key, texts in _said(d, spelled) if apart and name != secret and name not in official else ():
                if not said.isdisjoint(texts):
                    yield Fault(*d.at(file, key), f"{key} is said in {secret} as well", "remove it, or run stage 1 again")


def _said(d: Directory, spelled: str) -> Iterator[tuple[str, str, list[str]]]:
    """The file, the utterance and its texts; those of `references` come after its own, where they can be read."""
    for key, row in d.rows.get(spelled, {}).items():
        yield spelled, key, [row.value.strip()]
    for key, row in d.rows.get("references", {}).items() if spelled == "tokens" else ():
        own = d.rows.get(spelled, {}).get(key)
        with contextlib.suppress(UserError):  # a fault of its own
            yield "references", key, [text for text in kaldi.texts_of(d.path / "references", row) if not own or text != own.value.strip()]


def same_recordings(pools: dict[str, Directory]) -> Iterator[Fault]:
    """One recording in two pools."""
    where = {sound.digest: name for name, d in reversed(pools.items()) for sound in d.sounds.values()}
    keys = {sound.digest: key for d in reversed(pools.values()) for key, sound in d.sounds.items()}
    for name, d in pools.items():
        for key, sound in d.sounds.items():
            if where[sound.digest] != name:
                what = f"{key} is the same recording as {keys[sound.digest]} of {where[sound.digest]}"
                yield Fault(*d.at("wav.scp", key), what, "keep it in one pool")


def shared_speakers(pools: dict[str, Directory], told: dict[str, object]) -> Iterator[Fault]:
    """Speakers of dev and test who speak in training too, unless stage 1 knows that they do."""
    if told and told.get("split") != "speaker":
        return
    spoken = {name: {row.value.strip(): key for key, row in d.rows.get("utt2spk", {}).items()} for name, d in pools.items()}
    for secret in filter(held_out, pools):
        for name, spks in spoken.items():
            for spk in sorted((spks.keys() & spoken[secret].keys()) - {kaldi.NOBODY} if not held_out(name) else ()):
                yield Fault(*pools[name].at("utt2spk", spks[spk]), f"{spk} speaks in {secret} as well", "split by speaker")


def told_empty(told: dict[str, object], name: str) -> bool:
    """Whether stage 1 says that nothing was wanted in a pool."""
    pools = told.get("pools")
    return isinstance(pools, dict) and pools.get(name, {}).get("utterances") == 0


def pool_faults(parent: Path, names: Iterable[str]) -> list[Fault]:
    """All faults of several pools, each by itself and then between them."""
    told = made_by_stage_1(parent)
    order = sorted(names, key=lambda name: (not held_out(name), name))
    opened = {name: open_directory(parent / name) for name in order}
    pools = {name: d for name, d in opened.items() if any(d.rows.values()) or d.faults or not told_empty(told, name)}
    found = [fault for d in pools.values() for fault in faults_of(d)]
    return found + list(no_leaks(pools, told)) + list(same_recordings(pools)) + list(shared_speakers(pools, told))


def is_directory_of_data(path: Path) -> bool:
    """Whether this is Kaldi's kind of folder; `text` beside recordings is a corpus's transcript, and a folder `text` is a pool."""
    if any((path / name).is_file() for name in kaldi.FILES if name != "text"):
        return True
    return (path / "text").is_file() and not any(file.suffix.lower() in EXTENSIONS for file in path.iterdir())


def corpus_faults(path: Path) -> list[Fault]:
    """A corpus folder as its upstream ships it: recordings that decode, each once, and transcripts in UTF-8."""
    files = list(walk(path))
    sounds = [p for p in files if p.suffix.lower() in EXTENSIONS]
    found = [Fault(path, None, "holds no recordings", "give the folder that holds the corpus")] if not sounds else []
    first: dict[str, Path] = {}
    for file, sound in zip(sounds, listen(sounds), strict=True):
        if isinstance(sound, str):
            found.append(Fault(file, None, sound, "mend the recording or remove it"))
        elif sound and first.setdefault(sound.digest, file) != file:
            found.append(Fault(file, None, f"is the same recording as {first[sound.digest]}", "keep the one whose text is right"))
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
    """Everything wrong with a data directory, a folder of them (such as an experiment's `data`) or a corpus folder."""
    if not path.is_dir():
        return [Fault(path, None, "is no folder", "give a data directory, an experiment or a corpus folder")]
    if is_directory_of_data(path):
        return directory_faults(path)
    for parent in (path / "data", path):
        pools = [p.name for p in sorted(parent.iterdir()) if p.is_dir() and is_directory_of_data(p)] if parent.is_dir() else []
        if any(name in POOLS or (parent / name / "wav.scp").is_file() for name in pools):
            return pool_faults(parent, pools)
    inside = sorted(child.name for child in path.iterdir() if (child / "experiment.json").is_file())
    if inside:
        return [Fault(path, None, "holds experiments", f"look at one of them: {', '.join(inside[:10])}")]
    return corpus_faults(path)


def summarised(found: list[Fault]) -> Iterator[str]:
    """The faults as lines; of a kind that fills pages, the first ones and how many more there are."""
    total, shown = Counter((f.file, f.remedy) for f in found), defaultdict[tuple[Path, str], int](int)
    for fault in found:
        kind = (fault.file, fault.remedy)
        shown[kind] += 1
        if shown[kind] <= SHOWN:
            yield str(fault)
        if shown[kind] == SHOWN + 1:
            yield f"{fault.file}: {total[kind] - SHOWN} more such lines, list them all with --list FILE"


def main(path: Path, listing: Path | None = None) -> int:
    """Prints faults on stderr, one line each; `listing` gets all of them. Returns 0 where there is none, else 2."""
    try:
        found = faults(path)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", error.filename or path, "mend its permissions") from error
    for line in summarised(found):
        print(f"error: {line}", file=sys.stderr)
    if listing:
        write_tsv(listing, ("file", "line", "what", "remedy"), ((f.file, f.line or "", f.what, f.remedy) for f in found))
    return 2 if found else 0
