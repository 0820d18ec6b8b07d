"""What a run says: plain lines, progress bars on a terminal, metrics to a file and TensorBoard in one call."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cycle.files import write_text

log = logging.getLogger("cycle")
EVERY = 30.0  # seconds between two lines of progress


class _File(logging.FileHandler):
    """A log that cannot be written stops the run, where logging would only print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        raise  # noqa: PLE0704  # called while the error is being handled


def setup(file: Path | None) -> None:
    """Lines go to stdout and, when given, to a log file; other packages may only warn."""
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers.clear()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_File(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def progress[T](items: Iterable[T], total: int, title: str, done: int = 0) -> Iterator[T]:
    """Passes items through; a tqdm bar on a terminal, a plain line now and then elsewhere.

    Args:
        total: of all items, those that were `done` before included.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=title, leave=False, initial=done)
        return
    start = last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            left = (last - start) / number * max(0, total - done - number)
            log.info("%s: %d of %d, about %.0f s left", title, done + number, total, left)


class Metrics:
    """`metrics.jsonl`, one flat object a line, and TensorBoard beside it.

    After a resume, lines of the same phase beyond the step resumed from are dropped: an interrupted run leaves the same file.
    """

    def __init__(self, folder: Path, phase: str, step: int = 0):
        from torch.utils.tensorboard import SummaryWriter

        self.file, self.phase = folder / "metrics.jsonl", phase
        folder.mkdir(parents=True, exist_ok=True)
        if self.file.exists():
            self._rewind(step)
        self.board = SummaryWriter(str(folder / "tensorboard" / phase), purge_step=step)

    def _rewind(self, step: int) -> None:
        kept = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line that a kill cut short
                continue
            if row["phase"] != self.phase or row["step"] <= step:
                kept.append(line)
        write_text(self.file, "".join(f"{line}\n" for line in kept))

    def write(self, step: int, values: dict[str, Any]) -> None:
        with open(self.file, "a", encoding="utf-8") as handle:
            handle.write(json.dumps({"phase": self.phase, "step": step, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        self.board.close()
