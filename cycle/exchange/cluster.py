"""The exchange on many machines: Dask, on this machine or through a batch system (`dask-jobqueue`). All see the same folders."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cycle.config import ROOT, available
from cycle.errors import UserError
from cycle.log import progress
from cycle.yaml_file import read_yaml

if TYPE_CHECKING:
    from cycle.exchange.engine import Job, Write

SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster", "htcondor": "HTCondorCluster"}
SUBMIT = {"slurm": "sbatch", "pbs": "qsub", "sge": "qsub", "lsf": "bsub", "htcondor": "condor_submit"}
RETRIES = 3  # of a shard whose worker raised an error; one whose worker died is given to another anyway

_opened: dict[bytes, Callable[[int], Write]] = {}  # in a worker: the job at hand, its models loaded


@dataclass(frozen=True)
class Cluster:
    """Workers for shards.

    Attributes:
        system: local, or a batch system of SYSTEMS.
        workers: processes; in a batch system each is a job.
        device: of a worker: auto, cpu or cuda.
        precision: see the configuration.
        resources: handed to the batch system's class (queue, walltime, memory, job_extra_directives, ...).
    """

    system: str
    workers: int
    device: str
    precision: str
    resources: dict[str, Any]

    def look(self) -> None:
        """Raises UserError where jobs cannot be handed in."""
        if self.system != "local" and shutil.which(SUBMIT[self.system]) is None:
            what = f"{SUBMIT[self.system]} is not there, which hands jobs to {self.system}"
            raise UserError(what, "--cluster", "run this where jobs are handed in")

    def run(self, job: Job, shards: list[int]) -> None:
        """Works shards off; a worker that dies costs the shard it was at."""
        from dask.distributed import Client, as_completed

        logging.getLogger("distributed").setLevel(logging.ERROR)  # it tells of every worker that comes and goes
        with ExitStack() as stack:
            cluster = stack.enter_context(self._start())
            client = stack.enter_context(Client(cluster))
            words = pickle.dumps(job)
            tasks = [client.submit(work_off, words, n, self.device, self.precision, retries=RETRIES, pure=False) for n in shards]
            for task in progress(as_completed(tasks), len(tasks), job.title):
                task.result()

    def _start(self) -> Any:
        if self.system == "local":
            from dask.distributed import LocalCluster

            return LocalCluster(
                n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.ERROR
            )
        import dask_jobqueue

        cluster = getattr(dask_jobqueue, SYSTEMS[self.system])(processes=1, **self.resources)
        cluster.scale(self.workers)
        return cluster


def open_cluster(name: str, precision: str) -> Cluster:
    """The cluster that `conf/cluster/NAME.yaml` describes.

    Raises:
        UserError: no such file, or one that says something else than it may.
    """
    path = ROOT / "conf/cluster" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(available("conf/cluster"))
        raise UserError(f"no cluster {name!r}", None, f"choose one of: {known}, or add conf/cluster/{name}.yaml")
    conf = read_yaml(path)
    strangers = set(conf) - {"system", "workers", "device", "resources"}
    if strangers:
        raise UserError(f"unknown key {sorted(strangers)[0]!r}", path, "there are: system, workers, device, resources")
    system, workers, device = conf.get("system", "local"), conf.get("workers", 2), conf.get("device", "auto")
    if system not in ["local", *SYSTEMS]:
        raise UserError(f"system: {system!r}", path, f"choose one of: local, {', '.join(SYSTEMS)}")
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise UserError(f"workers: {workers!r}", path, "write how many, from 1 on")
    if device not in ["auto", "cpu", "cuda"]:
        raise UserError(f"device: {device!r}", path, "choose one of: auto, cpu, cuda")
    resources = conf.get("resources") or {}
    if not isinstance(resources, dict):
        raise UserError(f"resources: {resources!r}", path, "write a mapping, such as {memory: 8GB}")
    return Cluster(system, workers, device, precision, resources)


def work_off(words: bytes, shard: int, device: str, precision: str) -> int:
    """In a worker: one shard of a pickled job, whose models stay loaded for the next one."""
    from cycle.device import fabric, resolve

    job: Job = pickle.loads(words)  # from our own scheduler
    if job.done(shard):  # a worker that died after writing it
        return shard
    if words not in _opened:
        _opened.clear()
        _opened[words] = job.open(fabric(resolve(device), precision))
    _opened[words](shard)()
    return shard
