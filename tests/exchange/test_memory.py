"""Pools are streamed: many times the utterances, hardly more memory. For a million: `python -m tests.exchange.memory 1000000 FOLDER`."""

import json
import os
import subprocess
import sys

import pytest

from cycle.config import ROOT


def peak(size, folder):
    words = [sys.executable, "-m", "tests.exchange.memory", str(size), str(folder / str(size))]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["streams"]["synthetic"] == found["streams"]["speech"] == size
    return found["peak_mb"]


@pytest.mark.parametrize("times", [6, pytest.param(20, marks=pytest.mark.all)])
def test_memory_stays_flat(tmp_path, times):
    assert peak(1_500 * times, tmp_path) < (1 + 0.0075 * times) * peak(1_500, tmp_path)
