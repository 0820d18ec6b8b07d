"""What docs/extending.md writes works as it stands there."""

from __future__ import annotations

import re
import sys

import pytest
import torch
import yaml

from cycle.config import ROOT, load
from cycle.errors import UserError
from cycle.exchange import select
from cycle.objectives.recipe import objectives
from cycle.settings import Rule, of_round
from tests.exchange.test_select import label, labels
from tests.models.test_espnet import batch
from tests.objectives.tiny import pair

DOCS = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
PYTHON, YAML = (re.findall(rf"```{kind}\n(.*?)```", DOCS, re.S) for kind in ("python", "yaml"))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A clone with the module and the recipe of the guide."""
    (tmp_path / "conf/recipes").mkdir(parents=True)
    for name in ("conf/presets", "conf/controls", "conf/asr", "conf/tts", "conf/base.yaml", "egs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/entropy.py").write_text(PYTHON[0])
    (tmp_path / "conf/recipes/mine.yaml").write_text(YAML[0])
    monkeypatch.setattr("cycle.config.ROOT", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_an_objective(mine):
    made = objectives(load("mini", "mine", ["preset=smoke"]))["asr_entropy"]
    models, data, logged = pair(), batch(), []
    optimizer = torch.optim.Adam(models.asr.parameters(), lr=1e-3)
    for step in range(12):
        loss = made(data, models, step)
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        logged.append(float(loss.stats["entropy"]))
        assert float(loss.value.detach()) == pytest.approx(0.5 * logged[-1]) and loss.weight == len(data.texts)
    assert logged[-1] < 0.9 * logged[0]
    assert all(p.grad is None for p in models.tts.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"def __init__": "def __init__("}, r"mine/entropy\.py:\d+: is no Python .*; mend it: rounds\.objectives\.asr_entropy uses it"),
        ({"scale: float": "weight: float"}, r"asr_entropy\.args\.scale: AsrEntropy takes no argument 'scale'; choose among: weight"),
        ({"trains =": "moves ="}, "`trains` a set of asr and tts"),
    ],
)
def test_its_mistakes_are_told_before_anything_runs(mine, change, said):
    for old, new in change.items():
        (mine / "mine/entropy.py").write_text(PYTHON[0].replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        objectives(load("mini", "mine", ["preset=smoke"]))


def test_a_reward():
    known = {}
    exec(PYTHON[1], known)
    assert known["brevity"](["a b", "", "a"]) == [-2.0, None, -1.0]


def test_a_selection_rule():
    known = {"of_round": of_round}
    exec(PYTHON[2], known)
    rule = known["long_enough"]
    rules = [Rule(**each) for each in yaml.safe_load(YAML[1])["rounds"]["select_labels"]]
    select.check(rules, {**select.LABEL_RULES, "long_enough": rule}, "rounds.select_labels")
    rows = labels(label("x", "a b c d"), label("y", "a b c"))
    keep, why = rule(rows, 1, {}, tokens=[4, 2])
    assert keep.tolist() == [True, False] and why(1) == "only 3 tokens" and rule(rows, 2, {}, tokens=[4, 2])[0].all()
