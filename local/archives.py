"""Public corpora, fetched whole or not at all: repositories by git, archives by HTTP with their checksums."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from cycle.errors import UserError
from cycle.files import atomic_dir

log = logging.getLogger("cycle")
BY_HAND = "get it by hand and give its folder: --data DIR"
BLOCK = 1 << 20  # bytes
PATIENCE = 60.0  # seconds without a byte


def clone(url: str, target: Path) -> Path:
    """A shallow clone of a public git repository at `target`; one that is complete already is kept.

    Raises:
        UserError: git is missing, or the repository cannot be reached.
    """
    if target.is_dir():
        return target
    if shutil.which("git") is None:
        raise UserError("git is not installed", None, f"install git, or get {url} by hand and give its folder: --data DIR")
    aside = target.with_name(f".{target.name}.clone")
    shutil.rmtree(aside, ignore_errors=True)  # what an interrupted clone left
    target.parent.mkdir(parents=True, exist_ok=True)
    log.info("cloning %s", url)
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # a password prompt would hang a run in the background
    command = ["git", "clone", "--depth", "1", "--", url, str(aside)]
    try:
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=quiet, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"git cannot clone it ({reason})", url, f"check the network, or {BY_HAND}")
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def corpus(base: str, checksums: Mapping[str, str], target: Path) -> Path:
    """Downloads archives and unpacks them into `target`; what an earlier call finished is kept.

    Args:
        base: the URL of the folder that holds them.
        checksums: by path below it, SHA-256 or MD5 as upstream publishes them. What is no tar archive is kept as it is.

    Raises:
        UserError: no network, an altered file, or an archive that reaches outside of its folder.
    """
    for name, checksum in checksums.items():
        file = target / Path(name).name
        done = file.with_name(f".{file.name}.done")
        if not done.exists():
            download(f"{base}/{name}", file, checksum)
            if tarfile.is_tarfile(file):
                unpack(file, target)
                done.touch()
                file.unlink()
            done.touch()
    return target


def download(url: str, file: Path, checksum: str) -> Path:
    """A file from the net; an interrupted download goes on where it was, and nothing that is not what was published gets the name.

    Raises:
        UserError: no network, or a file that is not the published one.
    """
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    log.info("downloading %s", url)
    try:
        _append(url, part)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise  # the disk is full, for one
        raise UserError(f"cannot be downloaded ({error})", url, f"call again to go on from here, or {BY_HAND}") from error
    with open(part, "rb") as handle:
        found = hashlib.file_digest(handle, "md5" if len(checksum) == 32 else "sha256").hexdigest()
    if found != checksum:
        size = part.stat().st_size
        part.unlink()
        raise UserError(f"is not the published file (checksum {found} of {size} bytes)", url, f"call again, or {BY_HAND}")
    os.replace(part, file)
    return file


def _append(url: str, part: Path) -> None:
    """Adds what is missing of a file; servers that cannot give a part give all of it."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            goes_on = answer.status == 206
            length = int(answer.headers.get("Content-Length") or 0) + (have if goes_on else 0)
            with open(part, "ab" if goes_on else "wb") as handle:
                shutil.copyfileobj(answer, handle, BLOCK)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is missing
            raise HTTPException(f"{error.code} {error.reason}") from error
        return
    except urllib.error.URLError as error:
        raise ConnectionError(str(error.reason)) from error
    if part.stat().st_size < length:
        raise ConnectionError(f"cut short after {part.stat().st_size} of {length} bytes")


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a tar archive below `target`, whole or not at all; nothing in it may reach outside.

    Raises:
        UserError: it does, or the archive is damaged.
    """
    log.info("unpacking %s", archive.name)
    with atomic_dir(target / f".{archive.name}.unpacked") as aside:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(aside, filter="data")
        except tarfile.FilterError as error:
            raise UserError(f"reaches outside of its folder ({error})", archive, "do not use it") from error
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the archive
            raise UserError(f"is damaged ({error})", archive, "remove it and call again") from error
    _merge(target / f".{archive.name}.unpacked", target)


def _merge(source: Path, target: Path) -> None:
    """Moves a tree into another one by renaming."""
    for path in sorted(source.iterdir()):
        there = target / path.name
        if path.is_dir() and not path.is_symlink() and there.is_dir():
            _merge(path, there)
        else:
            os.replace(path, there)
    source.rmdir()
