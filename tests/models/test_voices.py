"""Voices: the contrastive loss by hand and by a loop, padding, parts, what training finds without labels, and the lookup."""

import math

import numpy as np
import pytest
import torch

from cycle.data.batch import Batch, speech_of
from cycle.data.types import Speech
from cycle.models.augment import vary
from cycle.models.voices import CHANNEL, VoiceEncoder, Voices, contrast, part
from cycle.settings import VoiceModel
from cycle.voices import agreement

CONF = VoiceModel(channels=16, size=8, temperature=0.1, updates=1, lr=1e-3, batch_frames=500, longest=30)
CPU = torch.device("cpu")


def test_contrast_worked_by_hand():
    """Two voices on two axes: to its own part an item has similarity 1, to the two others 0."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    value = contrast(vectors, torch.tensor([0, 1, 0, 1]), 0.5)
    assert float(value) == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)
    assert float(contrast(vectors, torch.tensor([0, 0, 1, 1]), 0.5)) == pytest.approx(2 + math.log(1 + 2 * math.exp(-2)), abs=1e-6)


def test_contrast_against_a_loop():
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(7, 5), dim=-1).requires_grad_()
    groups = [0, 1, 2, 0, 1, 0, 3]  # group 2 and 3 have one member: nothing to be near to
    total, count = torch.zeros(()), 0
    for i in range(7):
        others = [j for j in range(7) if j != i]
        same = [j for j in others if groups[j] == groups[i]]
        if not same:
            continue
        bottom = torch.logsumexp(torch.stack([vectors[i] @ vectors[j] / 0.3 for j in others]), 0)
        total = total - torch.stack([vectors[i] @ vectors[j] / 0.3 - bottom for j in same]).mean()
        count += 1
    value = contrast(vectors, torch.tensor(groups), 0.3)
    torch.testing.assert_close(value, total / count)
    (grad,) = torch.autograd.grad(value, vectors)
    assert torch.isfinite(grad).all() and grad.abs().sum() > 0


def test_parts_are_the_whole():
    torch.manual_seed(0)
    speech = speech_of([np.arange(1, 2 * n + 1, dtype=np.float32).reshape(n, 2) for n in (1, 2, 9, 30)])
    for _ in range(20):
        head, tail = part(speech, 99)
        for i, length in enumerate(speech.lengths.tolist()):
            first, rest = int(head.lengths[i]), int(tail.lengths[i])
            whole = torch.cat([head.feats[i, :first], tail.feats[i, :rest]])[-length:]
            assert torch.equal(whole, speech.feats[i, :length]) and first + rest == max(2, length)
            assert not head.feats[i, first:].any() and not tail.feats[i, rest:].any()
            assert length < 9 or length // 3 <= first <= 2 * length // 3 + 1


def test_parts_of_a_long_recording_lie_at_the_cut():
    torch.manual_seed(0)
    speech = speech_of([np.arange(1, n + 1, dtype=np.float32)[:, None] for n in (90, 4)])
    head, tail = part(speech, 10)
    assert head.lengths[0] == tail.lengths[0] == 10 and head.feats.shape == tail.feats.shape == (2, 10, 1)
    assert torch.equal(torch.cat([head.feats[0], tail.feats[0]])[:, 0], torch.arange(20.0) + head.feats[0, 0])
    assert 30 < tail.feats[0, 0] <= 61  # the cut lies in the middle third
    assert int(head.lengths[1] + tail.lengths[1]) == 4


def test_padding_batch_and_loudness_change_nothing():
    torch.manual_seed(0)
    encoder = VoiceEncoder(80, CONF).eval()
    rows = [np.random.default_rng(n).normal(size=(n, 80)).astype(np.float32) for n in (12, 30, 7)]
    together = encoder.embed(speech_of(rows))
    for i, row in enumerate(rows):
        torch.testing.assert_close(encoder.embed(speech_of([row]))[0], together[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder.embed(speech_of([row + 3.0]))[0], together[i], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3))


def voice(spk: int, rng: np.random.Generator) -> np.ndarray:
    """An utterance: the speaker's spectrum under words of its own."""
    colour = np.sin(np.arange(80) / 80 * (3 + 2 * spk)) * 0.7
    return (colour + np.repeat(rng.normal(size=(rng.integers(4, 9), 80)), 5, axis=0)).astype(np.float32)


@pytest.mark.parametrize("labelled", [False, True])
def test_voices_are_found(labelled):
    """Without labels each utterance is a voice by itself; those of one speaker come together all the same."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder = VoiceEncoder(80, CONF)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    for step in range(60):
        spks = [int(s) for s in rng.integers(6, size=24)]
        names = [str(s) if labelled else f"utt-{step}-{i}" for i, s in enumerate(spks)]
        loss = encoder.loss(Batch(names, names, names, speech_of([voice(s, rng) for s in spks])))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
    spks = [s for s in range(6) for _ in range(6)]
    near, far = agreement(encoder.embed(speech_of([voice(s, rng) for s in spks])).numpy(), [str(s) for s in spks])
    assert near > 0.5 and near - far > 0.4


def test_loss_knows_the_speakers():
    """Recordings of one speaker are near to each other, not only the parts of one recording."""
    encoder, rng = VoiceEncoder(80, CONF), np.random.default_rng(0)
    speech = speech_of([voice(s, rng) for s in (0, 1, 0)])

    def loss(spks):
        torch.manual_seed(1)
        return encoder.loss(Batch(["u0", "u1", "u2"], spks, [""] * 3, speech)).value.item()

    torch.manual_seed(1)
    halves = part(speech, CONF.longest)
    vectors = torch.cat([encoder(vary(half, CHANNEL)) for half in halves])
    for spks, groups in ((["b", "a", "b"], [0, 1, 0] * 2), (["b", "a", "c"], [0, 1, 2] * 2)):
        assert loss(spks) == pytest.approx(contrast(vectors, torch.tensor(groups), CONF.temperature).item(), abs=1e-5)
    assert loss(["b", "a", "b"]) != pytest.approx(loss(["b", "a", "c"]), abs=1e-3)


def test_agreement_worked_by_hand():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    assert agreement(vectors, ["a", "a", "b"]) == pytest.approx((0.0, -0.5))  # a-a: 0; a-b: -1 and 0
    assert np.isnan(agreement(vectors, ["a", "b", "c"])[0]) and np.isnan(agreement(vectors, ["a", "a", "a"])[1])


def test_lookup_on_disk(tmp_path):
    speakers = np.unique(np.array(["b", "a", "ü", "long-name", "b"]))
    np.save(tmp_path / "s.npy", speakers)
    np.save(tmp_path / "v.npy", np.arange(8, dtype=np.float16).reshape(4, 2))
    voices = Voices(np.load(tmp_path / "s.npy", "r"), (0.0, 1.0), (0.0, 1.0), np.load(tmp_path / "v.npy", "r"))
    assert voices.size == 2 and list(speakers) == ["a", "b", "long-name", "ü"]
    assert voices.embeddings(["ü", "a", "long-name", "a"], CPU).tolist() == [[6, 7], [0, 1], [4, 5], [0, 1]]
    for stranger in ("c", "long-name-and-more", "zz", ""):
        with pytest.raises(KeyError):
            voices.embeddings(["a", stranger], CPU)


def test_one_frame():
    encoder = VoiceEncoder(80, CONF)
    one = Speech(torch.randn(2, 1, 80), torch.tensor([1, 1]))
    assert torch.isfinite(encoder.loss(Batch(["1", "2"], ["1", "2"], ["", ""], one)).value)
