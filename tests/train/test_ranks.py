"""Two processes with gloo train as one process with the whole batch."""

import json

import numpy as np
import pytest
import torch

from cycle.files import read_jsonl
from tests.command import launched


def train(folder, ranks):
    folder.mkdir()
    done = launched("tests/train/two_ranks.py", folder, ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "ranks.json").read_text()) == ranks
    return read_jsonl(folder / "metrics.jsonl"), torch.load(folder / "weights.pt", weights_only=True)


def voices(folder):
    return torch.load(folder / "several/voices/model.pth", weights_only=True), np.load(folder / "several/voices/vectors.npy")


def test_two_ranks_follow_the_trajectory_of_one(tmp_path):
    alone, weights = train(tmp_path / "one", 1)
    together, same = train(tmp_path / "two", 2)
    assert len(alone) == len(together) == 10 and any(line.get("few/loss") for line in alone)
    for one, two in zip(alone, together, strict=True):
        assert set(one) == set(two)
        for key in set(one) & {"asr/loss", "tts/loss", "few/loss", "norm/asr", "norm/tts"}:
            assert one[key] == pytest.approx(two[key], rel=1e-4), (key, one["step"])
    (encoder, vectors), (its_like, same_vectors) = voices(tmp_path / "one"), voices(tmp_path / "two")
    for key, value in encoder.items():  # a loss across the batch: both ranks work on all of it
        torch.testing.assert_close(its_like[key], value, rtol=1e-4, atol=1e-5, msg=key)
    np.testing.assert_allclose(same_vectors, vectors, atol=2e-3)
    assert alone[-1]["asr/loss"] < 0.9 * alone[0]["asr/loss"]  # it went somewhere
    for name in ("asr", "tts"):
        for key, value in weights[name].items():
            if not key.endswith("linear_k.bias"):  # softmax takes it out again: its gradient is nothing but rounding, which Adam blows up
                torch.testing.assert_close(same[name][key], value, rtol=1e-3, atol=1e-4, msg=f"{name} {key}")
