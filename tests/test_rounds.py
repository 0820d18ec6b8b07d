"""Round by round: which round is best, where the next one starts, what counts as a collapse, and that controls get what they may."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

import cycle.rounds
from cycle.config import load
from cycle.data.schemas import LABEL
from cycle.data.table import Table
from cycle.device import fabric
from cycle.exchange.round_data import RoundData, wanted_streams
from cycle.experiment import Experiment
from cycle.files import read_json, write_json
from cycle.rounds import _pretrained, best_round, health, make_tasks, point, scale, starting_round
from cycle.train.streams import Stream


def rounds(*values):
    return [{"round": n, "asr_dev": v, "status": s} for n, (v, s) in enumerate(values)]


def test_best_round_is_chosen_on_dev_and_the_later_of_equals():
    assert best_round(rounds((0.3, "ok"), (0.2, "ok"), (0.25, "ok"))) == 1
    assert best_round(rounds((0.3, "ok"), (0.2, "ok"), (0.2, "ok"))) == 2
    assert best_round(rounds((0.3, "ok"), (0.1, "collapsed: x"))) == 0


def test_a_collapse_rolls_back_and_slows_down():
    history = rounds((0.3, "ok"), (0.2, "ok"), (0.9, "collapsed: x"))
    assert starting_round(history) == 1 and scale(history) == 0.5
    assert starting_round(history[:2]) == 1 and scale(history[:2]) == 1.0
    assert starting_round(rounds((0.3, "ok"), (0.35, "ok"))) == 1  # a little worse is no collapse


@pytest.mark.parametrize(("setting", "made", "stopped"), [("stop", [1, 2], "round 2 collapsed: x"), ("rollback", [1, 2, 3, 4], None)])
@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_is_to_stop_does_whoever_made_the_last_round(tmp_path, monkeypatch, setting, made, stopped, killed):
    exp = Experiment(tmp_path, load("mini", "cycle", ["rounds.count=4", f"rounds.on_collapse={setting}"]), "mini", "cycle")
    write_json(exp.round(0) / "metrics.json", {"round": 0, "asr_dev": 0.3, "status": "ok", "decode": asdict(exp.config.decode)})
    seen = []

    def one(exp, history, fabric, models):
        seen.append(len(history))
        metrics = {"round": len(history), "asr_dev": 0.2, "status": "collapsed: x" if len(history) == 2 else "ok"}
        write_json(exp.round(len(history)) / "metrics.json", metrics)
        if killed and len(history) == 2:
            raise KeyboardInterrupt
        return metrics

    monkeypatch.setattr(cycle.rounds, "run_round", one)
    if killed:
        with pytest.raises(KeyboardInterrupt):
            cycle.rounds.main(exp)
    cycle.rounds.main(exp)
    assert seen == made and read_json(exp.path / "rounds.json")["stopped"] == stopped


def test_a_collapse_halves_the_rates_of_the_rounds_behind_it(tmp_path, monkeypatch):
    exp = Experiment(tmp_path, load("mini", "supervised", ["models=[asr]", "rounds.asr.lr=0.5"]), "mini", "supervised")
    rates = []

    class Model:
        model = None

        def save(self, folder):
            pass

    class Trainer:
        def __init__(self, folder, metrics, phase, models, parts, *rest):
            rates.append(parts["asr"][1].lr)

        def fit(self):
            pass

    monkeypatch.setattr(cycle.rounds, "Trainer", Trainer)
    monkeypatch.setattr(cycle.rounds, "make_tasks", lambda *_: [])
    history = rounds((0.3, "ok"), (0.9, "collapsed: x"))
    cycle.rounds.train_round(exp, 2, SimpleNamespace(asr=Model()), tmp_path, RoundData({}), scale(history), tmp_path, fabric("cpu", "32"))
    assert rates == [0.25]


@pytest.mark.parametrize(
    ("dev", "empty", "said"),
    [(0.12, 0.0, "ok"), (0.2, 0.0, "above"), (0.1, 0.6, "empty")],
)
def test_health(dev, empty, said):
    history = rounds((0.1, "ok"), (0.01, "diverged: x"))  # which says nothing about the best
    assert said in health({"asr_dev": dev, "empty_share": empty}, history, margin=0.3)


def test_few_errors_are_no_collapse():
    assert health({"asr_dev": 0.01, "empty_share": 0.0}, rounds((0.0, "ok")), margin=0.3) == "ok"


@pytest.mark.parametrize("known", [{"method": "ctc_greedy"}, {}, None])  # by the pretraining; None: of an earlier version
def test_round_0_is_judged_by_the_search_of_the_rounds(tmp_path, monkeypatch, known):
    exp = Experiment(tmp_path, load("mini", "cycle", []), "mini", "cycle")
    decode = {} if known is None else {"decode": asdict(exp.config.decode) | known}
    write_json(exp.round(0) / "metrics.json", {"round": 0, "asr_dev": 0.3, "status": "ok", **decode})
    looked = []
    monkeypatch.setattr(cycle.rounds, "dev_figure", lambda exp, folder, fabric: looked.append(folder.name) or {"asr_dev": 0.2})
    one = fabric("cpu", "32")
    found = [_pretrained(exp, one) for _ in range(2)]
    same = known == {}
    assert found == 2 * [{"round": 0, "asr_dev": 0.3 if same else 0.2, "status": "ok"}]
    assert looked == ([] if same else ["round_00"])  # once


def test_point_replaces_a_link(tmp_path):
    for n in (1, 2):
        (tmp_path / f"round_0{n}").mkdir()
        point(tmp_path / "final", tmp_path / f"round_0{n}")
    assert (tmp_path / "final").resolve() == tmp_path / "round_02"


@pytest.mark.parametrize(
    ("control", "streams"),
    [
        (None, {"paired", "pseudo", "synthetic", "text", "speech"}),
        ("more_steps", {"paired"}),
        ("pseudo_only", {"paired", "pseudo"}),
        ("tts_only", {"paired", "synthetic"}),
        ("oracle", {"paired", "pseudo"}),
    ],
)
def test_each_control_draws_on_what_it_may(tmp_path, control, streams):
    words = ["rounds.objectives.asr_supervised.mix.synthetic=9", "rounds.objectives.tts_through_asr.weight=9"]
    for overrides in ([], words):  # no setting may give a control what it must not have
        exp = Experiment(tmp_path, load("hsk", "cycle", overrides, "cpu", control), "hsk", "cycle", control=control)
        assert wanted_streams(exp, 2) == streams


@pytest.mark.parametrize(("words", "even"), [([], False), (["few_shapes=true"], True), (["graphs=true"], True), (["preset=gpu"], True)])
def test_batches_have_few_shapes_where_that_helps(tmp_path, words, even):
    exp = Experiment(tmp_path, load("hsk", "cycle", words, "cpu"), "hsk", "cycle")
    some = Stream("any", ["u1"], ["s1"], ["a b"])
    found = {task.name: task.mixture.even for task in make_tasks(exp, 3, RoundData(dict.fromkeys(("paired", "text", "speech"), some)))}
    assert found == {"asr_supervised": even, "tts_supervised": even, "tts_through_asr": even, "asr_through_tts": even}


def test_controls_share_the_updates():
    updates = {load("hsk", "cycle", [], "cpu", c).rounds.updates for c in (None, "more_steps", "pseudo_only", "tts_only", "oracle")}
    assert len(updates) == 1


def test_only_the_oracle_control_reads_true_labels():
    for control in (None, "more_steps", "pseudo_only", "tts_only"):
        assert load("hsk", "cycle", [], "cpu", control).rounds.label.source == "asr"
    assert load("hsk", "cycle", [], "cpu", "oracle").rounds.label.source == "oracle"


def test_label_quality_by_hand(tmp_path):
    from cycle.eval.oracle import label_quality

    exp = Experiment(tmp_path, load("mini", "cycle", []), "mini", "cycle")
    folder = exp.oracle / "speech"
    folder.mkdir(parents=True)
    (folder / "tokens").write_text("u1 a b\nu2 a b c\nu3 a\n")
    rows = ({"utt": utt, "text": text, "tokens": 1, "frames": 9} for utt, text in (("u1", "a b"), ("u2", "a"), ("u3", "b")))
    values = label_quality(exp, Table.of(rows, LABEL), np.array([0, 2]))
    expected = {"kept_share": 2 / 3, "label_error": 3 / 6, "kept_error": 1 / 3, "rejected_error": 2 / 3}
    assert json.loads(json.dumps(values)) == pytest.approx(expected)
