"""`cycle` as a user calls it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from cycle.config import ROOT

SMOKE = ("--", "preset=smoke")


def cycle(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, "-m", "cycle", *map(str, words)], capture_output=True, text=True, env=variables, timeout=900, check=False
    )
