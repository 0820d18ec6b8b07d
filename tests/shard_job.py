"""A job that needs no models, for tests of what runs jobs: here, on ranks and on clusters."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from cycle.files import write_text


@dataclass(frozen=True)
class Squares:
    """Writes n squared to a file per shard, and who made it; `deadly` kills its process at the first attempt, `broken` always fails."""

    folder: Path
    number: int
    deadly: int = -1
    broken: int = -1
    title: str = "squares"

    def shards(self):
        return self.number

    def file(self, shard):
        return self.folder / f"{shard:05d}.txt"

    def done(self, shard):
        return self.file(shard).exists()

    def open(self, fabric):
        with (self.folder / "opened").open("a") as handle:
            handle.write(f"{os.getpid()} {fabric.global_rank}\n")

        def work(shard):
            mark = self.folder / f"died.{shard}"
            if shard == self.deadly and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if shard == self.broken:
                raise ValueError("a fault of ours")
            return lambda: write_text(self.file(shard), f"{shard * shard}\n")

        return work

    def results(self):
        return [int(self.file(n).read_text()) for n in range(self.number)]

    def opened(self):
        return (self.folder / "opened").read_text().splitlines() if (self.folder / "opened").exists() else []
