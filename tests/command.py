"""`cycle` as a user calls it: a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cycle.config import ROOT

SMOKE = ("--", "preset=smoke")
# Where these are imported already, a command begins at once.
BEHIND = ("cycle.__main__", "cycle.bench.train", "cycle.compare", "cycle.models.espnet_asr", "cycle.models.espnet_tts", "cycle.report",
          "cycle.run", "cycle.use", "cycle.tokens", "cycle.fabric", "librosa.feature", "numba")  # fmt: skip
PATIENCE = 900  # seconds


def cycle(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, "-m", "cycle", *map(str, words)], capture_output=True, text=True, env=variables, timeout=PATIENCE, check=False
    )


def launched(script: object, *words: object, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """A script of the tests as so many gloo processes; none outlives the call."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launch, str(script), *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, **pipes) as process:
        try:
            out, wrong = process.communicate(timeout=PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, wrong)


@contextlib.contextmanager
def forked(*words: object) -> Iterator[tuple[Any, Path, Path]]:
    """The same from a process that has imported everything; leads a group of its own.

    Yields:
        the process; files that it writes to instead of stdout and stderr.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(BEHIND))  # in one process, of which each command is a fork
    with tempfile.TemporaryDirectory() as folder:
        out, wrong = Path(folder) / "out", Path(folder) / "err"
        out.touch()
        wrong.touch()
        process: Any = server.Process(target=_run, args=([str(word) for word in words], str(out), str(wrong), dict(os.environ)))
        process.start()
        try:
            yield process, out, wrong
        finally:
            if process.exitcode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.join()


def quick(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs one to its end: for tests to which it does not matter how a command starts."""
    with forked(*words) as (process, out, wrong):
        process.join(PATIENCE)
        if process.exitcode is None:
            raise subprocess.TimeoutExpired(list(map(str, words)), PATIENCE)
        return subprocess.CompletedProcess(list(map(str, words)), process.exitcode, out.read_text(), wrong.read_text())


def _run(words: list[str], out: str, wrong: str, env: dict[str, str]) -> None:
    from cycle.__main__ import main

    os.setsid()
    for number, file in ((1, out), (2, wrong)):
        os.dup2(os.open(file, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["cycle", *words]
    sys.exit(main())
