"""Types fit, as pyproject.toml says: beside other tests, for it takes one core half a minute."""

import subprocess
import sys

from cycle.config import ROOT


def test_types_fit():
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
