"""Which sentences a round speaks, and in whose voice."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cycle.config import load
from cycle.data.batch import Batch, Hypothesis
from cycle.data.features import ShardWriter
from cycle.data.schemas import RECORDING
from cycle.data.table import write
from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.exchange.pools import lenders
from cycle.exchange.speak import SpeakJob, _rows, choose_sentences
from cycle.experiment import Experiment
from cycle.models.synthesizer import Rendering
from cycle.train.streams import Stream


def job(folder, speakers, number=1):
    config = load("mini", "cycle", [])
    config.rounds.speak = replace(config.rounds.speak, count=60, speakers=speakers)
    exp = Experiment(folder, config, "mini", "cycle")
    return SpeakJob(exp, number, exp.round(0), exp.work(number))


def pools(folder):
    for pool, spks in (("paired", "aab"), ("speech", "bcc")):
        (folder / "feats" / pool).mkdir(parents=True)
        writer = ShardWriter(folder / "feats" / pool, 0)
        for n, spk in enumerate(spks):
            writer.add(f"{pool}-{n}", np.zeros((5, 80), np.float32), spk=spk, text="x")
        writer.close()
    rows = ({"utt": f"t{n}", "spk": "", "text": "x y", "frames": 16} for n in range(100))
    (folder / "feats/text").mkdir()
    write(folder / "feats/text/00000.arrow", rows, RECORDING)


def test_voices_come_from_the_pools_that_are_named(tmp_path):
    pools(tmp_path)
    for speakers, voices in ((["paired"], set("ab")), (["speech"], set("bc")), (["paired", "speech"], set("abc"))):
        texts = job(tmp_path, speakers).texts()
        assert set(texts.spks) == voices and len(texts.spks) == len(texts) == 60
        assert list(texts.spks) == list(job(tmp_path, speakers).texts().spks)
    assert list(job(tmp_path, ["paired"], 2).texts().spks) != list(job(tmp_path, ["paired"]).texts().spks)


def test_nobody_to_speak_is_said_before_training(tmp_path):
    pools(tmp_path)
    (tmp_path / "feats/speech").rename(tmp_path / "feats/elsewhere")
    with pytest.raises(UserError, match="no recordings in speech"):
        lenders(job(tmp_path, ["speech"]).exp)
    assert lenders(job(tmp_path, ["paired", "speech"]).exp) == ["a", "b"]


def test_the_pool_is_walked_through_round_after_round():
    pool = Stream("text", [f"t{n}" for n in range(10)], [""] * 10, ["x"] * 10)
    said = [choose_sentences(pool, 4, number).utt_ids for number in (1, 2, 3)]
    assert said == [["t0", "t1", "t2", "t3"], ["t4", "t5", "t6", "t7"], ["t8", "t9", "t0", "t1"]]
    assert choose_sentences(pool, 0, 2) is pool and choose_sentences(pool, 10, 2) is pool


def test_the_table_says_how_a_sentence_was_spoken():
    """Spreads of ln(frames) and pitch over a sentence's own tokens, by hand; a value that is no number is told."""
    feats = torch.zeros(2, 4, 3)
    feats[1, 1, 2] = torch.inf
    durations, pitch = torch.tensor([[1, 2, 9], [3, 3, 1]]), torch.tensor([[1.0, 3.0, 50.0], [2.0, 2.0, 2.0]])
    made = Rendering(Speech(feats, torch.tensor([4, 2])), durations, pitch)
    batch, heard = Batch(["1", "2"], ["a", "b"], ["x y", "x y z"]), [[Hypothesis("x", 0.0)], []]
    rows = _rows(made, batch, lambda: heard)()
    assert [row.shape for row, _ in rows] == [(4, 3), (2, 3)] and rows[0][0].dtype == np.float16
    one, other = (said for _, said in rows)
    assert one == {
        "text": "x y",
        "spk": "a",
        "heard": "x",
        "finite": True,
        "duration_std": pytest.approx(math.log(2) / 2),
        "pitch_std": 1.0,
    }
    assert other["finite"] is False and other["pitch_std"] == 0.0
    assert other["duration_std"] == pytest.approx(np.std(np.log([3, 3, 1])))
    assert (other["text"], other["heard"]) == ("x y z", "")
    autoregressive = _rows(Rendering(made.speech), batch, lambda: heard)()[0][1]
    assert math.isnan(autoregressive["duration_std"]) and math.isnan(autoregressive["pitch_std"])
