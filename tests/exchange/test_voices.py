"""Voices: by hand, and by a loop over all pairs."""

import numpy as np
import pytest
import torch

from cycle.exchange.voices import consistency


def test_worked_by_hand():
    """Two speakers on opposite sides of the first axis: normalised, all recordings of one are the same vector."""
    recorded = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    made = torch.tensor([[2.0, 2.0], [1.0, -1.0], [3.0, 3.0]])
    got = consistency(recorded, ["a", "a", "b", "b"], made, ["a", "a", "b"])
    assert got["voice_same"] == pytest.approx(1.0) and got["voice_other"] == pytest.approx(-1.0)
    assert got["voice_made"] == pytest.approx((1 + 0 - 1) / 3, abs=1e-6)  # like a; across; like a, and was to be b


def test_against_a_loop():
    rng = np.random.default_rng(0)
    spks = ["c", "a", "b", "a", "c", "c", "d"]  # d has one recording: no others to compare it with
    recorded, made, targets = rng.normal(size=(7, 5)), rng.normal(size=(4, 5)), ["a", "d", "c", "c"]
    mean, std = recorded.mean(0), recorded.std(0)
    r, m = (recorded - mean) / std, (made - mean) / std

    def cos(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    def centre(spk, without=None):
        return np.mean([r[i] for i in range(7) if spks[i] == spk and i != without], axis=0)

    same = [cos(r[i], centre(s, i)) for i, s in enumerate(spks) if spks.count(s) > 1]
    other = [cos(r[i], centre(s)) for i in range(7) for s in "abcd" if s != spks[i]]
    got = consistency(torch.tensor(recorded).float(), spks, torch.tensor(made).float(), targets)
    assert got["voice_made"] == pytest.approx(np.mean([cos(x, centre(t)) for x, t in zip(m, targets, strict=True)]), abs=1e-5)
    assert got["voice_same"] == pytest.approx(np.mean(same), abs=1e-5)
    assert got["voice_other"] == pytest.approx(np.mean(other), abs=1e-5)


@pytest.mark.parametrize("spks", [[], ["a", "a", "a"], ["a", "b", "c"]])
def test_nothing_to_compare(spks):
    assert consistency(torch.randn(len(spks), 4), spks, torch.randn(2, 4), spks[:2]) == {}


def test_a_target_without_a_recording_in_the_sample_is_left_out():
    recorded, made = torch.randn(5, 4), torch.randn(3, 4)
    spks = ["a", "a", "b", "b", "b"]
    assert consistency(recorded, spks, made, ["b", "unheard", "a"]) == consistency(recorded, spks, made[[0, 2]], ["b", "a"])
    assert consistency(recorded, spks, made[:1], ["unheard"]) == {}


def test_nothing_made():
    assert consistency(torch.randn(3, 4), ["a", "a", "b"], torch.zeros(0, 1), []) == {}
