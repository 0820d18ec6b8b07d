"""Whole pools through the models, shard by shard: here, on every rank of a distributed run, or on a cluster.

A shard's result depends on nothing but the job and the shard's number, and its file appears whole: who makes it, and after how many
attempts, changes nothing. (Noise is drawn batch by batch: where memory runs out and a batch is halved, it is other noise.)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from cycle.exchange.cluster import Cluster
from cycle.fabric import Fabric

SHARD = 2048  # utterances

type Write = Callable[[], None]  # puts a shard on disk; waits for the device, if that is still at it


class Job(Protocol):
    """A pool to be worked through. It is pickled and sent to other machines, which see the same folders.

    Attributes:
        title: of the progress bar.
    """

    @property
    def title(self) -> str: ...

    def shards(self) -> int: ...

    def done(self, shard: int) -> bool: ...

    def open(self, fabric: Fabric) -> Callable[[int], Write]:
        """Loads the models; what comes back computes a shard and returns its writing, which may run beside the next shard's work."""
        ...


def run(job: Job, fabric: Fabric, cluster: Cluster | None = None) -> None:
    """Makes the shards that are not there yet.

    Args:
        cluster: where to; None is the ranks of `fabric`.
    """
    fabric.barrier()  # no rank may look while another one already writes
    todo = [n for n in range(job.shards()) if not job.done(n)]
    fabric.barrier()
    if cluster is not None:
        if fabric.is_global_zero and todo:
            cluster.run(job, todo)
    else:
        _work_off(job, todo[fabric.global_rank :: fabric.world_size], fabric)
    fabric.barrier()


def _work_off(job: Job, shards: list[int], fabric: Fabric) -> None:
    """Computes shards one after another while a thread writes the one before."""
    if not shards:
        return
    work = job.open(fabric)
    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for shard in shards:
            write = work(shard)
            if writing is not None:
                writing.result()  # at most two shards in memory, and a full disk is heard of at once
            writing = writer.submit(write)
        assert writing is not None
        writing.result()
