"""Opening an experiment for its report, in whatever state it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from cycle import use
from cycle.config import lenient
from cycle.errors import UserError
from cycle.files import write_json, write_text
from tests.fake_experiment import experiment


def begun(path: Path) -> Path:
    """What `run` writes before the first stage."""
    write_text(path / "config.yaml", yaml.safe_dump(asdict(experiment(path).config), sort_keys=False))
    write_json(path / "experiment.json", {"corpus": "mini", "recipe": "cycle", "device": "cpu", "command": ["run"]})
    return path


def test_as_it_was_written(tmp_path: Path) -> None:
    exp, notes = use.open_any(begun(tmp_path))
    assert notes == [] and (exp.corpus, exp.recipe) == ("mini", "cycle") and exp.config == experiment(tmp_path).config


def test_settings_of_another_version(tmp_path: Path) -> None:
    """Unknown ones are named, missing ones are the defaults, the rest is kept."""
    values = asdict(experiment(tmp_path).config)
    values["rounds"]["count"], values["rounds"]["cuont"], values["gone"] = 7, 3, {"a": {"b": 1}}
    del values["prior"], values["features"]["trim_db"]
    config, notes = lenient(values)
    assert config.rounds.count == 7 and config.prior.order == 6 and config.features.trim_db == 40.0
    assert notes == ["Setting rounds.cuont: this version does not know it.", "Setting gone.a.b: this version does not know it."]
    assert set(config.rounds.objectives) == set(values["rounds"]["objectives"])


def test_an_older_experiment_is_used_with_the_defaults(tmp_path: Path) -> None:
    values = asdict(experiment(tmp_path).config)
    del values["graphs"]
    write_text(begun(tmp_path) / "config.yaml", yaml.safe_dump(values))
    assert use.open_finished(tmp_path).config == experiment(tmp_path).config
    write_text(tmp_path / "config.yaml", yaml.safe_dump({**values, "gone": 1}))
    with pytest.raises(UserError, match="gone: this version does not know it"):
        use.open_finished(tmp_path)


@pytest.mark.parametrize("damage", ["{", "- 1\n", "\x00", "rounds: 3\n"])
def test_broken_settings(tmp_path: Path, damage: str) -> None:
    (begun(tmp_path) / "config.yaml").write_text(damage)
    exp, notes = use.open_any(tmp_path)
    assert notes and exp.config.features.fs == 16000


@pytest.mark.parametrize("damage", ["{", "[]", "7", "{}"])
def test_broken_description(tmp_path: Path, damage: str) -> None:
    (begun(tmp_path / "name") / "experiment.json").write_text(damage)
    exp, notes = use.open_any(tmp_path / "name")
    assert (exp.corpus, exp.recipe) == ("name", "cycle") and bool(notes) == (damage in ("{", "7"))


def test_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no experiment"):
        use.open_any(tmp_path)
