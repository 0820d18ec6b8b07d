"""7z archives, by whichever program the machine has: Python's own library cannot read them."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

from cycle.errors import UserError
from cycle.files import atomic_dir

log = logging.getLogger("cycle")
PROGRAMS = {"7z": ["x", "-y", "-bd", "-o{folder}", "{archive}"], "7zz": ["x", "-y", "-bd", "-o{folder}", "{archive}"],
            "7zr": ["x", "-y", "-bd", "-o{folder}", "{archive}"], "bsdtar": ["-xf", "{archive}", "-C", "{folder}"]}  # fmt: skip


def unpack(archive: Path, name: str) -> Path:
    """Unpacks the folder `name` that an archive holds beside it, whole or not at all; one that is there is kept.

    Raises:
        UserError: no program for it, or the archive is damaged; a folder of the archive may not reach outside.
    """
    target = archive.parent / name
    if target.is_dir():
        return target
    program = next((p for p in PROGRAMS if shutil.which(p)), None)
    if program is None:
        raise UserError(
            "is a 7z archive, and no program here reads it", archive, "install 7z or bsdtar (apt install p7zip-full), or unpack it"
        )
    log.info("unpacking %s", archive.name)
    with atomic_dir(archive.parent / f".{name}.unpacked") as aside:
        words = [program, *(word.format(folder=aside, archive=archive) for word in PROGRAMS[program])]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not (aside / name).is_dir():
            reason = (done.stderr.strip() or done.stdout.strip() or f"it holds no folder {name}").splitlines()[-1]
            raise UserError(f"cannot be unpacked ({reason})", archive, "remove it and call again")
    (archive.parent / f".{name}.unpacked" / name).rename(target)
    shutil.rmtree(archive.parent / f".{name}.unpacked")
    return target
