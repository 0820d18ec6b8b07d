"""The recipe that docs/new-corpus.md writes by hand runs as it stands there."""

from __future__ import annotations

import logging
import re

import pytest

from cycle import check, config, new_corpus, prepare
from cycle.data import kaldi
from cycle.experiment import Experiment
from tests.test_new_corpus import texts
from tests.tiny_corpus import tone

ROOT = config.ROOT
DOCS = (ROOT / "docs/new-corpus.md").read_text(encoding="utf-8")


def block(kind: str, start: str) -> str:
    return next(code for code in re.findall(rf"```{kind}\n(.*?)```", DOCS, re.S) if code.startswith(start))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "clone/egs/mine").mkdir(parents=True)
    (tmp_path / "clone/conf").symlink_to(ROOT / "conf")
    for module in (config, prepare, new_corpus):
        monkeypatch.setattr(module, "ROOT", tmp_path / "clone")
    every = iter(texts(200))
    home = tmp_path / "data/mine-1.0"
    (home / "lists").mkdir(parents=True)
    for split, spks, count in (("train", "abcd", 25), ("dev", "e", 12), ("test", "fg", 12)):
        names = [f"{spk}/{n}" for spk in spks for n in range(count)]
        (home / "lists" / f"{split}.txt").write_text("\n".join(f"{name};{next(every)}" for name in names), encoding="utf-8")
        for name in names:  # a tone hangs on its name
            tone(home / "audio" / f"{name}{name[0]}.wav", 2.5).rename(home / "audio" / f"{name}.wav")
    (home / "more_text.txt").write_text("\n".join(every), encoding="utf-8")
    return tmp_path / "clone/egs/mine"


def test_the_recipe_by_hand(mine, tmp_path, caplog):
    python, conf = block("python", '"""mine'), block("yaml", "corpus:")
    assert len(python.splitlines()) == 26 <= 40 and len(conf.splitlines()) <= 20
    (mine / "prepare.py").write_text(python)
    (mine / "conf.yaml").write_text(conf)
    exp = Experiment(tmp_path / "exp", config.load("mine", "cycle", ["preset=smoke", "pools.text=20"]), "mine", "cycle", tmp_path / "data")
    with caplog.at_level(logging.WARNING, "cycle"):
        prepare.main(exp)
    assert "'train' holds 100 utterances with their text, the full corpus 12000" in caplog.text
    assert check.faults(exp.path) == []
    assert {u.spk for u in kaldi.read(exp.data("test"))} == {"f", "g"}
