"""All stages on a device that is not the host."""

import json
import os
import re
import subprocess
import sys

import pytest

from cycle.config import ROOT


@pytest.mark.all
@pytest.mark.parametrize("graphs", ["false", "true"])
def test_every_stage_runs_on_a_device(graphs, tmp_path):
    words = ["run", "--exp", str(tmp_path / "mini"), "--", "preset=smoke", "judge.model.layers=0", f"graphs={graphs}"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "tests.pretend_run", *words], capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    operations, replays = map(int, re.search(r"(\d+) operations, (\d+) replays", done.stdout).groups())
    assert operations > 100_000  # it was there that they happened
    assert (replays > 100) == (graphs == "true")
    assert json.loads((tmp_path / "mini/summary.json").read_text())["systems"]["cycle"]["ref"] > 0
    assert (tmp_path / "mini/report/report.html").is_file()
