"""What tests of several files share: one experiment that has been run from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import SMOKE, cycle


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("recipe") / "mini"
    done = cycle("run", "--exp", exp, *SMOKE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return exp
