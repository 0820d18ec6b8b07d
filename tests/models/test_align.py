"""Durations: what an aligner must do that a recogniser need not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from cycle.data.batch import Batch, within
from cycle.data.types import Speech
from cycle.models.align import duration_spread
from cycle.models.frame_ctc import FrameCTC
from cycle.models.vocabulary import Vocabulary
from cycle.settings import FrameModel

WORDS = ["a b c", "c a", "b c a b", "a c b"]
FRAMES = 6  # of each token


def conf(**changes: float) -> FrameModel:
    return FrameModel(**{"channels": 24, "convs": 2, "layers": 0, "label_prior": 0.3, "subsample": 1, "updates": 1, "lr": 1e-2,
                         "batch_frames": 100, **changes})  # fmt: skip


def spoken() -> Batch:
    """Each token sounds for FRAMES frames in a band of its own."""
    torch.manual_seed(0)
    longest = max(len(word.split()) for word in WORDS) * FRAMES
    feats = torch.zeros(len(WORDS), longest, 8)
    for i, word in enumerate(WORDS):
        for n, token in enumerate(word.split()):
            feats[i, n * FRAMES : (n + 1) * FRAMES, "abc".index(token)] = 2.0
    lengths = torch.tensor([len(word.split()) * FRAMES for word in WORDS])
    return Batch(WORDS, ["s"] * len(WORDS), WORDS, speech=Speech(feats + 0.05 * torch.randn_like(feats), lengths))


def trained(**changes: float) -> FrameCTC:
    torch.manual_seed(1)
    model, batch = FrameCTC(Vocabulary.of(WORDS), 8, conf(**changes)), spoken()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        model.loss(batch).value.backward()
        optimizer.step()
    return model.eval()


def test_the_aligner_finds_the_borders():
    model, batch = trained(), spoken()
    frames, logp = model.align(batch.speech, batch.texts)
    for row, word in zip(frames.tolist(), WORDS, strict=True):
        tokens = len(word.split())
        assert sum(row) == tokens * FRAMES
        assert all(abs(n - FRAMES) <= 2 for n in row[: tokens - 1]), row
    assert torch.isfinite(logp).all()


def test_the_gradient_by_its_formula():
    """Torch's CTC takes its rows for distributions: p - gamma + Z (q - p) reaches the logits, and p - gamma is that of the loss itself."""
    torch.manual_seed(0)
    model, batch = FrameCTC(Vocabulary.of(WORDS), 8, conf()).eval(), spoken()
    model.prior.copy_(torch.tensor([0.6, 0.05, 0.1, 0.1, 0.1, 0.05]))
    value = model.loss(batch).value
    (used,) = torch.autograd.grad(value, model.out.bias)
    scores, lengths = model.emissions(batch.speech)
    z, inside = scores.logsumexp(-1), within(lengths, scores.size(1))
    ids, sizes = model.vocabulary.encode(batch.texts)
    apart = F.ctc_loss((scores - z[..., None]).transpose(0, 1), ids, lengths, sizes, reduction="none")
    own = (apart - (z * inside).sum(1)).mean()
    (right,) = torch.autograd.grad(own, model.out.bias, retain_graph=True)
    torch.testing.assert_close(own, value)
    p = (scores + 0.3 * model.prior.log()).exp()
    more = ((scores.exp() - z.exp()[..., None] * p) * inside[..., None]).sum((0, 1)) / len(WORDS)
    torch.testing.assert_close(used, right + more)
    assert float((used - right).abs().max()) > 0.1
    beside = []
    with torch.no_grad():
        for step in (0.05, -0.1):
            model.out.bias[0] += step
            beside.append(float(model.loss(batch).value))
    assert (beside[0] - beside[1]) / 0.1 == pytest.approx(float(right[0]), rel=0.01)  # and so does the loss itself rise


def test_the_prior_follows_the_posteriors_in_training_only():
    model, batch = FrameCTC(Vocabulary.of(WORDS), 8, conf()), spoken()
    before = model.prior.clone()
    model.train().emissions(batch.speech)
    assert not torch.equal(model.prior, before)
    torch.testing.assert_close(model.prior.sum(), torch.tensor(1.0))
    after = model.prior.clone()
    model.eval()
    model.emissions(batch.speech)
    assert torch.equal(model.prior, after)


def test_padding_tells_the_prior_nothing():
    batch = spoken()
    models = [FrameCTC(Vocabulary.of(WORDS), 8, conf()) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    longer = torch.nn.functional.pad(batch.speech.feats, (0, 0, 0, 9), value=3.0)
    for model, feats in zip(models, (batch.speech.feats, longer), strict=True):
        model.front.eval()  # no dropout
        inside = (torch.arange(feats.size(1)) < batch.speech.lengths[:, None])[..., None]
        model.emissions(Speech(feats * inside, batch.speech.lengths))
    torch.testing.assert_close(models[0].prior, models[1].prior)


def test_without_a_prior_the_scores_are_log_probabilities():
    model, batch = FrameCTC(Vocabulary.of(WORDS), 8, conf(label_prior=0.0, layers=1)).eval(), spoken()
    logp, _ = model.emissions(batch.speech)
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(logp.shape[:2]))


def test_spread_worked_by_hand():
    """a takes 0 and 1 frames (ln 1 = 0, ln 2), b the same twice, c occurs once and says nothing."""
    frames = [[0, 5, 9, 2], [1, 5, 7]]
    expected = math.sqrt((2 * (math.log(2) / 2) ** 2 + 0.0) / 4)
    assert math.isclose(duration_spread(["a b c", "a b"], frames), expected)
    assert duration_spread(["a b"], [[3, 4, 0]]) == 0.0
