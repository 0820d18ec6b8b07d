"""Shards: each made once, wherever, and never again; on several ranks and on a cluster that loses a worker."""

from dataclasses import replace

import pytest

from cycle.config import ROOT
from cycle.device import fabric
from cycle.errors import UserError
from cycle.exchange.cluster import SYSTEMS, Cluster, open_cluster
from cycle.exchange.engine import run
from tests.command import launched
from tests.shard_job import Squares

LOCAL = Cluster("local", 2, "cpu", "32", {})


def test_only_what_is_missing_is_made(tmp_path):
    job = Squares(tmp_path, 4)
    job.file(2).write_text("4\n")
    made = job.file(2).stat().st_mtime_ns
    run(job, fabric("cpu", "32"))
    assert job.results() == [0, 1, 4, 9] and job.file(2).stat().st_mtime_ns == made
    assert len(job.opened()) == 1
    run(job, fabric("cpu", "32"))
    assert len(job.opened()) == 1  # nothing to do, no model loaded


def test_what_was_finished_before_a_failure_stays(tmp_path):
    job = Squares(tmp_path, 4, broken=2)
    with pytest.raises(ValueError, match="a fault of ours"):
        run(job, fabric("cpu", "32"))
    assert job.done(0) and job.done(1) and not job.done(3)


def test_a_write_that_fails_is_heard_of(tmp_path):
    class Full(Squares):
        def open(self, fabric):
            def full():
                raise OSError("no space left")

            return lambda shard: full

    with pytest.raises(OSError, match="no space"):
        run(Full(tmp_path, 1), fabric("cpu", "32"))


def test_ranks_share_the_shards(tmp_path):
    code = """
import sys
from pathlib import Path
from cycle.fabric import Fabric
from cycle.exchange.engine import run
from tests.shard_job import Squares

fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
run(Squares(Path(sys.argv[1]), 5), fabric)
"""
    script = tmp_path / "ranks.py"
    script.write_text(code)
    done = launched(script, tmp_path, ranks=2)
    assert done.returncode == 0, done.stderr
    job = Squares(tmp_path, 5)
    assert job.results() == [0, 1, 4, 9, 16]
    assert sorted(line.split()[1] for line in job.opened()) == ["0", "1"]


def test_a_killed_worker_costs_its_shard_only(tmp_path):
    job = Squares(tmp_path, 6, deadly=3)
    job.file(1).write_text("1\n")
    LOCAL.run(job, [0, 2, 3, 4, 5])
    assert job.results() == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "died.3").exists()


def test_a_shard_that_fails_every_time_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="a fault of ours"):
        replace(LOCAL, workers=1).run(Squares(tmp_path, 2, broken=1), [0, 1])


def test_every_shipped_cluster_opens_and_strangers_are_named(tmp_path, monkeypatch):
    import dask_jobqueue

    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="sbatch is not there, which hands jobs to slurm"):
        open_cluster("slurm", "auto").look()
    open_cluster("local", "auto").look()
    monkeypatch.setattr("shutil.which", lambda name: name)
    for file in (ROOT / "conf/cluster").glob("*.yaml"):
        assert open_cluster(file.stem, "auto").system == file.stem
    for name in SYSTEMS.values():
        assert hasattr(dask_jobqueue, name)
    slurm = open_cluster("slurm", "auto")
    script = dask_jobqueue.SLURMCluster(processes=1, **slurm.resources).job_script()
    assert "--gres=gpu:1" in script and "04:00:00" in script
    with pytest.raises(UserError, match="no cluster 'moon'"):
        open_cluster("moon", "auto")
    monkeypatch.setattr("cycle.exchange.cluster.ROOT", tmp_path)
    (tmp_path / "conf/cluster").mkdir(parents=True)
    (tmp_path / "conf/cluster/x.yaml").write_text("system: local\nworkrs: 3\n")
    with pytest.raises(UserError, match="unknown key 'workrs'"):
        open_cluster("x", "auto")
    for line in ("workers: many", "workers: 0", "workers:", "workers: true", "system: [local]", "device: gpu", "resources: [1]"):
        (tmp_path / "conf/cluster/x.yaml").write_text(line + "\n")
        with pytest.raises(UserError, match=line.partition(":")[0]):
            open_cluster("x", "auto")
