"""A corpus that is a folder of recordings and a transcript file, or Kaldi data directories: what recipes of `new-corpus` read.

Options of such a recipe:
    audio: the folder of recordings, a Kaldi data directory, or a folder of several.
    text: the transcript file; none is needed where Kaldi's `text` lies beside wav.scp.
    speakers: "transcript", "folder" (see `speaker_level`) or "unknown".
    split: "speaker" (shares of the speakers go to test and dev), "folder" (Kaldi directories named train, dev, test) or "text".
    shares: of the speakers, by split.
    speech_only: recordings without text feed the speech pool; else they are left out.
    sentences: a file of sentences for the text pool, one a line.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cycle.data import kaldi, pool, transcripts
from cycle.data.audio import EXTENSIONS
from cycle.data.kaldi import NOBODY, Fault
from cycle.data.recordings import find
from cycle.data.transcripts import Line
from cycle.data.types import Utterance
from cycle.errors import UserError

ROLES = {"test": "test", "eval": "test", "dev": "dev", "valid": "dev"}  # how directories are called, and what they are for
BETTER = (".wav", ".flac", ".aiff", ".aif", ".au", ".sph")  # formats that lose nothing
NO_SPEAKER = re.compile(r"(train|dev|test|valid|eval|wavs?|clips?|audio|data|recordings?|mp3|flac|part|batch|disc|cd)(\d*|[-_. ].*)", re.I)
DEEP = 0.9  # share of the recordings that lie in folders which may name speakers
NO_TEXT: list[str | None] = [None]
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


def roles_of(rows: list[Row], options: Mapping[str, Any]) -> list[str | None]:
    """The split of each row; None for what an evaluation speaker says without a text, which training must not hear."""
    kind, rest = options["split"], "all" if options["split"] == "text" else "train"
    spks = {utt.spk for _, utt in rows if isinstance(utt, Utterance) and utt.text is not None} - {NOBODY}
    by_speaker = pool.by_speaker(spks, options["shares"], rest) if kind == "speaker" else {}
    roles: list[str | None] = []
    for folder, utt in rows:
        role: str | None = role_of(folder) if kind == "folder" else rest
        if isinstance(utt, Utterance):
            role = by_speaker.get(utt.spk, role)
            if utt.text is None and options.get("speech_only"):
                secret = role in set(ROLES.values())
                role = "speech" if not secret else role if kind == "folder" else None
        roles.append(role)
    return roles


def role_of(folder: str) -> str:
    """What a Kaldi directory is for, by its name."""
    return next((role for start, role in ROLES.items() if folder.startswith(start)), "train")


def read(root: Path, text: Path | None, speakers: str = "transcript") -> Iterator[Row]:
    """Everything that a folder and its transcript hold; a half that is missing stays None."""
    folders = kaldi_folders(root)
    if folders:
        yield from _kaldi(folders, text)
    elif text is None:
        raise UserError("holds no wav.scp, and no transcript is given", root, "give the transcript: --text FILE")
    else:
        yield from (("", utt) for utt in _join(root, transcripts.read(text), speakers))


def kaldi_folders(root: Path) -> list[Path]:
    """The Kaldi data directories that `root` is or holds."""
    inside = sorted(path for path in root.iterdir() if (path / "wav.scp").is_file()) if root.is_dir() else []
    return [root] if (root / "wav.scp").is_file() else inside


def _kaldi(folders: list[Path], text: Path | None) -> Iterator[Row]:
    """Data directories, each with a transcript of its own or all with one. Ids that stand in several get the directory's name in front."""
    wavs = {folder: _lines_of(folder / "wav.scp") for folder in folders}
    ids = Counter(key for rows, _ in wavs.values() for key in {row.key for row in rows})
    sources = [("", text, None, folders)] if text else [(folder.name, folder / "text", "kaldi", [folder]) for folder in folders]
    for name, file, form, speaking in sources:
        said, faults = _said(file, form)
        yield from ((name, fault) for fault in faults)
        spoken: set[str] = set()
        for folder in speaking:
            recorded, bad = wavs[folder]
            spks, unread = _said(folder / "utt2spk", "kaldi")
            yield from ((folder.name, fault) for fault in bad + unread)
            for row in recorded:
                key = row.key if ids[row.key] == 1 else f"{folder.name}-{row.key}"
                for words in said.get(row.key, NO_TEXT):  # two texts make two utterances of one id, which stage 1 leaves out
                    yield folder.name, Utterance(key, spks.get(row.key, [NOBODY])[0], _place(folder, row.value), words)
            spoken |= {row.key for row in recorded}
        yield from ((name, Utterance(key, NOBODY, None, words)) for key in sorted(said.keys() - spoken) for words in said[key])


def _lines_of(file: Path) -> tuple[list[kaldi.Row], list[Fault]]:
    if (file.parent / "segments").is_file():
        raise UserError("cuts recordings into pieces", file.parent / "segments", "write the pieces as files of their own first")
    return kaldi.parse_lines(file)


def _said(file: Path, form: str | None) -> tuple[dict[str, list[str]], list[Fault]]:
    """What stands behind each id, as often as it stands there; and the lines that cannot be read. Nothing where Kaldi has no such file."""
    said: dict[str, list[str]] = {}
    faults: list[Fault] = []
    for row in transcripts.read(file, form) if form is None or file.is_file() else ():
        if isinstance(row, Fault):
            faults.append(row)
        else:
            said.setdefault(row.key, []).append(row.text)
    return said, faults


def _place(folder: Path, path: str) -> Path:
    """A path of wav.scp as it stands, or from the directory or one of the two above, where Kaldi's recipes are run. Nothing is run."""
    if kaldi.bad_path(path) or Path(path).is_absolute():
        return Path(path)
    return next((base / path for base in (folder, folder.parent, folder.parent.parent) if os.path.isfile(base / path)), Path(path))


def _join(root: Path, said: Iterator[Line | Fault], speakers: str) -> Iterator[Utterance | Fault]:
    """Recordings with their lines, which may name them by path, by name or without extension."""
    sounds, faults = recordings(root)
    yield from faults
    names, index, level = _ids(sounds), _index(sounds), speaker_level(sounds) if speakers == "folder" else None
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
            yield Utterance(names[sound], spk or _speaker(sound, level), sounds[sound], line.text)
    for sound in sorted(sounds.keys() - spoken):
        yield Utterance(names[sound], _speaker(sound, level), sounds[sound], None)


def recordings(root: Path) -> tuple[dict[str, Path], list[Fault]]:
    """Recordings by their path from `root` in composed Unicode; of one in several formats the first of BETTER, the others are faults.

    Raises:
        UserError: there is none.
    """
    sounds: dict[str, Path] = {}
    faults: list[Fault] = []
    places: dict[str, str] = {}
    for path in sorted(find(root), key=lambda path: (_rank(path), str(path))):
        key = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
        if _bare(key) in places:
            faults.append(Fault(path, None, "recording in another format", f"{places[_bare(key)]} is used"))
        else:
            sounds[key] = path
            places[_bare(key)] = key
    if not sounds:
        raise UserError("holds no recordings", root, f"these are known: {' '.join(sorted(EXTENSIONS))}")
    return dict(sorted(sounds.items())), faults


def _rank(path: Path) -> int:
    return BETTER.index(path.suffix.lower()) if path.suffix.lower() in BETTER else len(BETTER)


def _bare(name: str) -> str:
    """A path without the extension of a recording; other dots are part of the name."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in EXTENSIONS else name


def speaker_level(sounds: Iterable[str]) -> int | None:
    """Which folder of the recordings' paths names the speaker: the first of several names, none of which is that of a set of data.

    A few recordings may lie further up; nobody knows who speaks there.
    """
    folders = [PurePosixPath(key).parts[:-1] for key in sounds]
    for level in range(max((len(parts) for parts in folders), default=0)):
        names = Counter(parts[level] for parts in folders if len(parts) > level)
        if names.total() < DEEP * len(folders):
            return None
        if len(names) > 1 and not any(NO_SPEAKER.fullmatch(name) for name in names):
            return level if names.total() >= 2 * len(names) else None
    return None


def _speaker(sound: str, level: int | None) -> str:
    folders = PurePosixPath(sound).parts[:-1]
    return kaldi.as_id(folders[level]) if level is not None and level < len(folders) else NOBODY


def _ids(sounds: Mapping[str, Path]) -> dict[str, str]:
    """Ids by relative path: the name where no two recordings share it, else the whole path."""
    stems = [PurePosixPath(_bare(key)).name for key in sounds]
    short = len(set(stems)) == len(stems)
    return {key: kaldi.as_id(stem if short else _bare(key)) for key, stem in zip(sounds, stems, strict=True)}


def _index(sounds: Mapping[str, Path]) -> dict[str, str | None]:
    """From whatever may name a recording to its relative path; None where it would name two."""
    index: dict[str, str | None] = {}
    for key in sounds:
        path = PurePosixPath(key)
        tails = {str(PurePosixPath(*path.parts[n:])) for n in range(len(path.parts))}
        for name in tails | {_bare(tail) for tail in tails}:
            index[name] = None if name in index else key
    return index | {key: key for key in sounds}  # a whole path is never in doubt


def _match(key: str, index: Mapping[str, str | None]) -> str | None:
    """The recording that a transcript's key names. A look into a table, never onto the disk.

    The key may be the end of the recording's path or the other way round; anna/10.wav is not ben/10.wav.
    """
    parts = PurePosixPath(unicodedata.normalize("NFC", key).replace("\\", "/")).parts
    for n in range(len(parts)):
        tail = str(PurePosixPath(*parts[n:]))
        for name in (tail, _bare(tail)):
            sound = index.get(name)
            if sound is not None and (n == 0 or name in (sound, _bare(sound))):
                return sound
    return None
