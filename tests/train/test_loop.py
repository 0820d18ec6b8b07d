"""Training: killed and resumed equals uninterrupted, to the bit; averages, schedules, divergence."""

import contextlib
import itertools
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from cycle.data.batch import Loss
from cycle.device import fabric
from cycle.errors import UserError
from cycle.files import read_jsonl
from cycle.log import log, progress
from cycle.objectives.base import nothing
from cycle.settings import Optimizer, Run
from cycle.train import loop
from cycle.train.loop import Diverged, Task, Trainer
from cycle.train.part import learning_rate
from cycle.train.streams import Mixture
from tests import pretend_device
from tests.train.test_streams import stream


class Noisy(torch.nn.Module):
    """Learns the mean length of a text; dropout makes it depend on the generators."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))


class Objective:
    trains = frozenset({"model"})

    def __init__(self, poison=False, die_at=None):
        self.poison, self.die_at = poison, die_at

    def __call__(self, batch, models, step):
        if step == self.die_at:
            raise KeyboardInterrupt
        x = torch.tensor([[float(len(t))] for t in batch.texts])
        loss = (models.net(x) - 2 * x).square().mean() * (math.nan if self.poison else 1.0)
        return Loss(loss, len(x), {"loss": loss.detach()})


def trainer(folder, objective, updates=40, every=1, seconds=0.0):
    model = Noisy()
    task = Task("t", objective, Mixture({"a": stream("a", 40)}, {"a": 1.0}, 300, 1), every=every, start=3)
    return model, Trainer(folder / "state", folder, "phase", model, {"model": (model, Optimizer(lr=1e-2))}, [task], updates, 1,
                          Run(checkpoint_seconds=seconds, log_every=5, workers=0), fabric("cpu", "32"))  # fmt: skip


@pytest.mark.parametrize(("die_at", "every"), [(1, 1), (17, 1), (38, 1), (24, 3)])
def test_resume_equals_uninterrupted(tmp_path, die_at, every):
    whole, straight = trainer(tmp_path / "a", Objective(), every=every)
    straight.fit()
    _, first = trainer(tmp_path / "b", Objective(die_at=die_at - die_at % every), every=every)
    if die_at > 3:
        with pytest.raises(KeyboardInterrupt):
            first.fit()
        assert list((tmp_path / "b" / "state").glob("update_?.pt"))
    resumed, second = trainer(tmp_path / "b", Objective(), every=every)
    second.fit()
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "a" / "metrics.jsonl").read_text() == (tmp_path / "b" / "metrics.jsonl").read_text()


def test_a_line_of_metrics_is_whole_though_its_values_are_older_than_the_kill(tmp_path):
    """Update 16 is the last active one before the line of update 20; the process dies in between."""
    trainer(tmp_path / "a", Objective(), every=4)[1].fit()
    _, first = trainer(tmp_path / "b", Objective(), every=4)
    save = first._save

    def dying(parts, step, turn, stats):
        save(parts, step, turn, stats)
        if step == 19:
            raise KeyboardInterrupt

    first._save = dying
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    trainer(tmp_path / "b", Objective(), every=4)[1].fit()
    assert (tmp_path / "a" / "metrics.jsonl").read_text() == (tmp_path / "b" / "metrics.jsonl").read_text()


def test_a_torn_checkpoint_falls_back_on_the_other(tmp_path):
    _, first = trainer(tmp_path, Objective(die_at=20))
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    newest = max((tmp_path / "state").glob("*.pt"), key=lambda p: torch.load(p, weights_only=True)["step"])
    newest.write_bytes(newest.read_bytes()[:100])
    resumed, second = trainer(tmp_path, Objective())
    second.fit()
    shutil.rmtree(tmp_path)
    whole, straight = trainer(tmp_path, Objective())
    straight.fit()
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))


def test_it_learns_and_leaves_the_average(tmp_path):
    model, job = trainer(tmp_path, Objective(), updates=300, seconds=1e9)
    job.fit()
    x = torch.tensor([[1.0], [3.0], [7.0]])
    assert not model.training
    assert (model.net(x) - 2 * x).abs().mean() < 5


def test_a_step_with_nothing_to_learn_from_moves_nothing(tmp_path):
    """Not even by what the optimizer remembers of the steps before it."""

    class Now(Objective):
        def __call__(self, batch, models, step):
            loss = super().__call__(batch, models, step)
            seen.append([p.detach().clone() for p in models.net.parameters()])
            return loss if step % 4 == 3 else nothing(torch.device("cpu"), loss.stats)

    seen = []
    _, job = trainer(tmp_path, Now(), updates=12)
    job.fit()
    same = [all(torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(seen)]
    assert same == [False, True, True, True] * 2  # from step 3 on


def test_a_loss_is_logged_whether_its_objective_says_so_or_not(tmp_path):
    class Silent(Objective):
        def __call__(self, batch, models, step):
            return replace(super().__call__(batch, models, step), stats={"gap": 1.0})

    trainer(tmp_path, Objective(), updates=10)[1].fit()
    trainer(tmp_path / "other", Silent(), updates=10)[1].fit()
    said, silent = (read_jsonl(folder / "metrics.jsonl") for folder in (tmp_path, tmp_path / "other"))
    assert [line["t/loss"] for line in silent] == [line["t/loss"] for line in said] and silent[-1]["t/gap"] == 1.0


def test_what_was_done_before_counts_in_the_progress(caplog, monkeypatch):
    caplog.set_level("INFO", "cycle")
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr("cycle.log.EVERY", 0.0)
    assert list(progress(range(7, 10), 10, "training", 7)) == [7, 8, 9]
    said = list(dict.fromkeys(line.partition(",")[0] for line in caplog.messages))
    assert said == ["training: 8 of 10", "training: 9 of 10", "training: 10 of 10"]


def test_ranks_share_a_mean_by_what_each_averages(tmp_path):
    """Three ranks, two utterances: the third one went through the motions with the first. Two things are averaged: 1 and 3, 2 and 0."""
    given = [(torch.tensor([2.0, 5.0]), [1, 2], 0.5), (torch.tensor([4.0, 9.0]), [3, 0], 0.5), (torch.tensor([2.0, 5.0]), [1, 2], 0.0)]
    told = []
    _, job = trainer(tmp_path, Objective())
    job.fabric = SimpleNamespace(world_size=3, all_reduce=lambda mine, reduce_op: told.append(mine) or torch.tensor([4.0, 2.0]))
    parts = [float(job._shared(Loss(means.sum(), 1, {}, means, counts), share)) for means, counts, share in given]
    assert parts == [2 / 4 + 5.0, 4 * 3 / 4, 0.0] and sum(told).tolist() == [4.0, 2.0]


def test_an_objective_that_returns_something_else_is_named(tmp_path):
    class Bare(Objective):
        def __call__(self, batch, models, step):
            return super().__call__(batch, models, step).value

    with pytest.raises(UserError, match=r"rounds\.objectives\.t: Bare returned Tensor; return a Loss of cycle\.data\.batch"):
        trainer(tmp_path, Bare())[1].fit()


def test_divergence_is_told(tmp_path):
    model, job = trainer(tmp_path, Objective(poison=True))
    before = {k: v.clone() for k, v in model.named_parameters()}
    with pytest.raises(Diverged, match=r"no finite gradient in \d+ updates .*; lower its learning rate and begin its stage again") as told:
        job.fit()
    assert isinstance(told.value, UserError)  # one line, wherever nobody catches it
    for key, value in model.named_parameters():
        assert torch.equal(value, before[key]), key  # a gradient that is not finite moves no weight


@pytest.mark.parametrize(("bad", "told"), [(range(21, 39), False), (range(21, 42), True)])
def test_a_row_of_bad_steps_is_told_though_good_ones_follow(tmp_path, bad, told):
    """Numbers of the device are looked at now and then."""

    class Sometimes(Objective):
        def __call__(self, batch, models, step):
            loss = super().__call__(batch, models, step)
            return Loss(loss.value * (math.nan if step in bad else 1.0), loss.weight, loss.stats)

    _, job = trainer(tmp_path, Sometimes(), updates=60)
    job.run = Run(checkpoint_seconds=1e9, log_every=60, workers=0)
    with pytest.raises(Diverged, match="in 21 updates") if told else contextlib.nullcontext():
        job.fit()


def test_learning_rate_by_hand():
    conf = Optimizer(lr=1.0, warmup=0.1, floor=0.0)
    assert [learning_rate(s, 100, conf) for s in (0, 9)] == pytest.approx([0.1, 1.0])
    assert learning_rate(55, 100, conf) == pytest.approx(0.5)
    assert learning_rate(99, 100, conf) < 0.001


def test_turn_counts_batches_used():
    task = Task("t", Objective(), None, every=4, start=6)
    active = [task.active(s) for s in range(40)]
    assert [task.turn(s) for s in range(40)] == [sum(active[:s]) for s in range(40)]


def test_numbers_of_the_device_are_fetched_at_once():
    with pretend_device.device() as seen:
        there = {name: torch.tensor(value).to(pretend_device.DEVICE) for name, value in (("a", 1.5), ("b", 2.5), ("c", [3.5]))}
        seen.forget()
        stats = {"x": 1, **there, "y": torch.tensor(4.5)}
        assert loop.on_host(stats) == {"x": 1.0, "a": 1.5, "b": 2.5, "c": 3.5, "y": 4.5} and list(loop.on_host(stats)) == list(stats)
        assert seen.waits.total() == 2
    assert loop.on_host({}) == {}
