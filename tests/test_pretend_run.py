"""All stages on a device that is not the host."""

import json
import os
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
    assert int(done.stdout.partition(" operations")[0].rpartition("\n")[2]) > 100_000  # it was there that they happened
    assert json.loads((tmp_path / "mini/summary.json").read_text())["systems"]["cycle"]["ref"] > 0
    assert (tmp_path / "mini/report/report.html").is_file()
