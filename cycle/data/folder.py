"""A corpus that is a folder of recordings and a transcript file, or Kaldi data directories: what recipes of `new-corpus` read.

Options of such a recipe:
    audio: the folder of recordings, a Kaldi data directory, or a folder of several.
    text: the transcript file; none is needed where Kaldi's `text` lies beside wav.scp.
    speakers: "transcript", "folder" (the name of a recording's folder) or "unknown".
    split: "speaker" (shares of the speakers go to test and dev), "folder" (Kaldi directories named train, dev, test) or "text".
    shares: of the speakers, by split.
    speech_only: recordings without text feed the speech pool; else they are left out.
    sentences: a file of sentences for the text pool, one a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cycle.data import kaldi, pool, transcripts
from cycle.data.kaldi import NOBODY, Fault
from cycle.data.recordings import find
from cycle.data.transcripts import Line
from cycle.data.types import Utterance
from cycle.errors import UserError

ROLES = {"test": "test", "eval": "test", "dev": "dev", "valid": "dev"}  # how directories are called, and what they are for
Row = tuple[str, Utterance | Fault]  # with the name of the directory it stands in


def utterances(root: Path, split: str, options: Mapping[str, Any]) -> Iterator[Utterance | Fault]:
    """One split of the corpus: "all" or "train", "dev", "test", "speech" (recordings without text), "text".

    Raises:
        UserError: a file that cannot be read, or a Kaldi directory whose recordings are still to be cut into segments.
    """
    if split == "text":
        yield from transcripts.sentences(Path(options["sentences"]))
        return
    rows = list(read(root, Path(options["text"]) if options.get("text") else None, options["speakers"]))
    roles = roles_of(rows, options)
    yield from (utt for (_, utt), role in zip(rows, roles, strict=True) if role == split)


def roles_of(rows: list[Row], options: Mapping[str, Any]) -> list[str]:
    """The split of each row."""
    kind, rest = options["split"], "all" if options["split"] == "text" else "train"
    spks = {utt.spk for _, utt in rows if isinstance(utt, Utterance) and utt.text is not None} - {NOBODY}
    by_speaker = pool.by_speaker(spks, options["shares"], rest) if kind == "speaker" else {}
    roles = []
    for folder, utt in rows:
        role = role_of(folder) if kind == "folder" else rest
        if isinstance(utt, Utterance):
            role = by_speaker.get(utt.spk, role)
            if utt.text is None and options.get("speech_only"):
                role = "speech"
        roles.append(role)
    return roles


def role_of(folder: str) -> str:
    """What a Kaldi directory is for, by its name."""
    return next((role for start, role in ROLES.items() if folder.startswith(start)), "train")


def read(root: Path, text: Path | None, speakers: str = "transcript") -> Iterator[Row]:
    """Everything that a folder and its transcript hold; a half that is missing stays None."""
    folders = kaldi_folders(root)
    if folders:
        for folder in folders:
            yield from ((folder.name, utt) for utt in _kaldi(folder, text if len(folders) == 1 else None))
    else:
        if text is None:
            raise UserError("holds no wav.scp, and no transcript is given", root, "give the transcript: --text FILE")
        yield from (("", utt) for utt in _join(root, transcripts.read(text), speakers))


def kaldi_folders(root: Path) -> list[Path]:
    """The Kaldi data directories that `root` is or holds."""
    inside = sorted(path for path in root.iterdir() if (path / "wav.scp").is_file()) if root.is_dir() else []
    return [root] if (root / "wav.scp").is_file() else inside


def _kaldi(folder: Path, text: Path | None) -> Iterator[Utterance | Fault]:
    if (folder / "segments").is_file():
        raise UserError("cuts recordings into pieces", folder / "segments", "write the pieces as files of their own first")
    wavs, faults = kaldi.parse_lines(folder / "wav.scp")
    yield from faults
    said: list[Line] = []
    file = text or folder / "text"
    for line in transcripts.read(file, None if text else "kaldi") if file.is_file() else ():
        if isinstance(line, Fault):
            yield line
        else:
            said.append(line)
    spks = {row.key: row.value.strip() for row in kaldi.parse_lines(folder / "utt2spk")[0]} if (folder / "utt2spk").is_file() else {}
    texts = {line.key: line.text for line in said}
    for row in wavs:
        yield Utterance(row.key, spks.get(row.key, NOBODY), _place(folder, row.value), texts.get(row.key))
    recorded = {row.key for row in wavs}
    yield from (Utterance(line.key, NOBODY, None, line.text) for line in said if line.key not in recorded)


def _place(folder: Path, path: str) -> Path:
    """A path of wav.scp as it stands, or from the directory or one of the two above, where Kaldi's recipes are run. Nothing is run."""
    if kaldi.bad_path(path) or Path(path).is_absolute():
        return Path(path)
    return next((base / path for base in (folder, folder.parent, folder.parent.parent) if (base / path).is_file()), Path(path))


def _join(root: Path, said: Iterator[Line | Fault], speakers: str) -> Iterator[Utterance | Fault]:
    """Recordings with their lines, which may name them by path, by name or without extension."""
    sounds = {path.relative_to(root).as_posix(): path for path in find(root)}
    names, index = _ids(sounds), _index(sounds)
    spoken: set[str] = set()
    for line in said:
        if isinstance(line, Fault):
            yield line
            continue
        sound = _match(line.key, index)
        spk = kaldi.as_id(line.spk) if speakers == "transcript" and line.spk else None
        if sound is None:
            yield Utterance(kaldi.as_id(line.key), spk or NOBODY, None, line.text)
        else:
            spoken.add(sound)
            yield Utterance(names[sound], spk or _speaker(sounds[sound], speakers), sounds[sound], line.text)
    for sound in sorted(sounds.keys() - spoken):
        yield Utterance(names[sound], _speaker(sounds[sound], speakers), sounds[sound], None)


def _speaker(path: Path, speakers: str) -> str:
    return kaldi.as_id(path.parent.name) if speakers == "folder" else NOBODY


def _ids(sounds: Mapping[str, Path]) -> dict[str, str]:
    """Ids by relative path: the name where no two recordings share it, else the whole path."""
    stems = [path.stem for path in sounds.values()]
    short = len(set(stems)) == len(stems)
    return {key: kaldi.as_id(path.stem if short else str(PurePosixPath(key).with_suffix(""))) for key, path in sounds.items()}


def _index(sounds: Mapping[str, Path]) -> dict[str, str | None]:
    """From whatever may name a recording to its relative path; None where it would name two."""
    index: dict[str, str | None] = {}
    for key in sounds:
        path = PurePosixPath(key)
        tails = {str(PurePosixPath(*path.parts[n:])) for n in range(len(path.parts))}
        for name in tails | {str(PurePosixPath(tail).with_suffix("")) for tail in tails}:
            index[name] = None if name in index else key
    return index | {key: key for key in sounds}  # a whole path is never in doubt


def _match(key: str, index: Mapping[str, str | None]) -> str | None:
    """The recording that a transcript's key names: as much of its end as fits. A look into a table, never onto the disk."""
    parts = PurePosixPath(key.replace("\\", "/")).parts
    for n in range(len(parts)):
        tail = PurePosixPath(*parts[n:])
        for name in (str(tail), str(tail.with_suffix("")) if tail.name else ""):
            if name in index:
                return index[name]
    return None
