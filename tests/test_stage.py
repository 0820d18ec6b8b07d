"""Stamps: a finished stage is skipped, a changed one refused by name, a killed one resumed, a failed one leaves nothing in the way."""

import sys
import types

import pytest

from cycle import stage
from cycle.config import load
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json, write_json, write_text
from cycle.stage import changed


@pytest.fixture
def calls(monkeypatch):
    """A verb that counts its calls and can be told to fail."""
    module = types.ModuleType("cycle.fake")
    module.calls, module.fail = [], None

    def main(exp):
        module.calls.append(exp)
        if module.fail:
            raise module.fail
        write_text(exp.path / "out", "made")

    module.main = main
    monkeypatch.setitem(sys.modules, "cycle.fake", module)
    return module


def fake(derived=False):
    return stage.Stage(4, "fake", "", ("seed", "rounds"), lambda e: [e.path / "in"], lambda e: [e.path / "out"], derived)


def experiment(path, *words):
    write_text(path / "in", "input") if not (path / "in").exists() else None
    return Experiment(path, load("mini", "cycle", list(words)), "mini", "cycle")


def test_finished_is_skipped(tmp_path, calls):
    assert stage.run(fake(), experiment(tmp_path)) is True
    assert stage.run(fake(), experiment(tmp_path, "pretrain.asr_updates=7")) is False  # a setting it does not read
    assert len(calls.calls) == 1


def test_changed_setting_is_named(tmp_path, calls):
    stage.run(fake(), experiment(tmp_path))
    with pytest.raises(UserError, match=r"rounds\.count: 2 -> 4.*--stage 4 --redo"):
        stage.run(fake(), experiment(tmp_path, "rounds.count=4"))


def test_a_setting_of_a_later_version_was_as_its_default(tmp_path, calls):
    stage.run(fake(), experiment(tmp_path))
    file = fake().stamp_file(experiment(tmp_path))
    stamp = read_json(file)
    del stamp["settings"]["rounds.on_collapse"]
    write_json(file, stamp)
    assert stage.run(fake(), experiment(tmp_path)) is False
    with pytest.raises(UserError, match=r"rounds\.on_collapse: rollback -> stop"):
        stage.run(fake(), experiment(tmp_path, "rounds.on_collapse=stop"))


def test_with_a_checkpoint_its_own_yaml_counts(tmp_path):
    settings = stage.STAGES[2].settings(experiment(tmp_path, "asr.init=there/model.pth"))
    assert {key.split(".yaml.")[0] for key in settings if ".yaml." in key} == {"tts"}


def test_what_changed_by_hand():
    assert changed({"a": 1, "b": 2}, {"a": 1, "b": 3}) == "b: 2 -> 3"
    assert changed({"a": {}}, {"a.b": 3}) == "a.b: (none) -> 3"  # into an empty mapping
    assert changed({"a.b": 3}, {"a": {}}) == "a.b: 3 -> (none)"
    assert changed({"a": None}, {}) is None and changed({}, {"a": None}) is None  # null is what is not there
    assert changed({"a": 0}, {"a": False}) is None and changed({"a": [1]}, {"a": [2]}) == "a: [1] -> [2]"


def test_changed_input_is_named(tmp_path, calls):
    stage.run(fake(), experiment(tmp_path))
    write_text(tmp_path / "in", "other")
    with pytest.raises(UserError, match="file in"):
        stage.run(fake(), experiment(tmp_path))


def test_derived_stages_run_again(tmp_path, calls):
    stage.run(fake(True), experiment(tmp_path))
    assert stage.run(fake(True), experiment(tmp_path, "seed=2")) is True


def test_missing_input_is_named(tmp_path, calls):
    exp = experiment(tmp_path)
    (tmp_path / "in").unlink()
    with pytest.raises(UserError, match=r"in: stage 4 \(fake\) needs it"):
        stage.run(fake(), exp)


def test_killed_goes_on_only_under_the_same_settings(tmp_path, calls):
    calls.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        stage.run(fake(), experiment(tmp_path))
    with pytest.raises(UserError, match="seed: 1 -> 2"):
        stage.run(fake(), experiment(tmp_path, "seed=2"))
    calls.fail = None
    assert stage.run(fake(), experiment(tmp_path)) is True
    assert read_json(fake().stamp_file(experiment(tmp_path)))["done"]


def test_a_user_error_before_anything_was_made_is_forgotten(tmp_path, calls):
    calls.fail = UserError("no such corpus")
    with pytest.raises(UserError):
        stage.run(fake(), experiment(tmp_path))
    calls.fail = None
    assert stage.run(fake(), experiment(tmp_path, "seed=2")) is True


def test_missing_output_runs_again(tmp_path, calls):
    stage.run(fake(), experiment(tmp_path))
    (tmp_path / "out").unlink()
    assert stage.run(fake(), experiment(tmp_path)) is True


def test_clear_removes_stamp_and_outputs(tmp_path, calls):
    exp = experiment(tmp_path)
    stage.run(fake(), exp)
    stage.clear(fake(), exp)
    assert not (tmp_path / "out").exists() and not fake().stamp_file(exp).exists() and (tmp_path / "in").exists()
