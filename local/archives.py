"""Public corpora, fetched whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

from cycle.errors import UserError

log = logging.getLogger("cycle")


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
            raise UserError(f"git cannot clone it ({reason})", url, "check the network, or get it by hand and give its folder: --data DIR")
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target
