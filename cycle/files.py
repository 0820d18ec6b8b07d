"""Files and folders that appear whole or not at all: everything is written aside and renamed."""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import yaml

LITTLE = 1 << 16  # bytes: a disk with less is full
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file that replaces `path` when the block ends without an error.

    Raises:
        OSError: ENOSPC for a full disk, however the library inside the block put it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, path)
    except Exception as error:
        if shutil.disk_usage(path.parent).free < LITTLE:  # numpy and torch tell of a short write in words of their own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yields an empty folder that takes `path`'s place when the block ends without an error. A link to a folder elsewhere stays one."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if not _at_work(left.name.split(".")[-2]):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    aside, old = (path.with_name(f".{path.name}.{kind}{os.getpid()}.tmp") for kind in ("new.", "old."))
    aside.mkdir()
    try:
        yield aside
        _take_place(aside, path, old)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _at_work(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(process) != os.getpid()


def _take_place(aside: Path, path: Path, old: Path) -> None:
    """A folder that is there is moved away first; another process may put one there meanwhile."""
    while True:
        try:
            os.replace(aside, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, old)


def identity(path: Path) -> tuple[int, ...] | None:
    """Tells a file from others and from its own earlier content, whatever it is called; None where there is none."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as handle:
        handle.write(text)


def write_yaml(path: Path, value: Any, sort_keys: bool = True) -> None:
    """Of plain values, as a safe loader reads them back."""
    write_text(path, yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=sort_keys))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with atomic_write(path) as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_tsv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """Writes a table with a header; tabs and line breaks inside a field become spaces, bytes that are no UTF-8 (in file names) escapes."""
    with atomic_write(path) as handle:
        for row in chain([header], rows):  # one at a time: there may be millions
            line = "\t".join([" ".join(str(field).split()) for field in row]) + "\n"
            handle.write(line.encode("utf-8", "backslashreplace").decode())


def read_tsv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of what `write_tsv` wrote, by the names of its header."""
    with open(path, encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of files, and of the files inside folders, with their names."""
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                total.update(file.name.encode())
                with open(file, "rb") as handle:
                    total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()
