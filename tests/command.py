"""`cycle` as a user calls it: a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cycle.config import ROOT

SMOKE = ("--", "preset=smoke")
# Where these are imported already, a command begins at once.
BEHIND = ("cycle.__main__", "cycle.bench.train", "cycle.compare", "cycle.models.espnet_asr", "cycle.models.espnet_tts", "cycle.report",
          "cycle.run", "cycle.use", "cycle.tokens", "lightning.fabric", "librosa.feature", "numba")  # fmt: skip
PATIENCE = 900  # seconds


def cycle(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, "-m", "cycle", *map(str, words)], capture_output=True, text=True, env=variables, timeout=PATIENCE, check=False
    )


def quick(*words: object) -> subprocess.CompletedProcess[str]:
    """The same from a process that has imported everything, for tests to which it does not matter how a command starts."""
    typed, server = [str(word) for word in words], multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(BEHIND))  # in one process, of which each command is a fork
    with tempfile.TemporaryDirectory() as folder:
        out, wrong = Path(folder) / "out", Path(folder) / "err"
        out.touch()
        wrong.touch()
        process: Any = server.Process(target=_run, args=(typed, str(out), str(wrong), dict(os.environ)))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(typed, PATIENCE)
        return subprocess.CompletedProcess(typed, process.exitcode, out.read_text(), wrong.read_text())


def _run(words: list[str], out: str, wrong: str, env: dict[str, str]) -> None:
    from cycle.__main__ import main

    for number, file in ((1, out), (2, wrong)):
        os.dup2(os.open(file, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["cycle", *words]
    sys.exit(main())
