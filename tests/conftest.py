"""What tests of several files share: one experiment that has been run from end to end."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.command import SMOKE, cycle

LONGEST = "test_recipe.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole recipes, which take minutes, first: of two processes neither waits long for the other's last file.

    The longest file makes what `finished` hands out. The others that want it would wait for it, and come later.
    """
    here = Path(__file__).parent
    waiting = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())} - {here / LONGEST}
    items.sort(key=lambda item: (item.path.parent != here, item.path in waiting, item.path.name != LONGEST))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run once, by the process of pytest that needs it first; each works on a copy of its own."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made/mini"
    made.parent.mkdir(exist_ok=True)
    with open(made.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "report/report.html").exists():
            done = cycle("run", "--exp", made, *SMOKE)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Path(shutil.copytree(made, base / "recipe/mini", symlinks=True))
