"""Training speech varied: by hand, by brute force, and only in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cycle.data.batch import Batch
from cycle.data.types import Speech
from cycle.models.augment import resample, vary
from cycle.models.checkpoint import model_conf
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.vocabulary import Vocabulary
from cycle.settings import Augment, Model


def ones(n: int, value: float = 1.0) -> torch.Tensor:
    return torch.full((n,), value)


def speech(B: int = 3, T: int = 20, M: int = 8) -> Speech:
    torch.manual_seed(0)
    lengths = torch.tensor([T, T - 7, 4][:B])
    feats = torch.randn(B, T, M) * (torch.arange(T) < lengths[:, None])[..., None]
    return Speech(feats, lengths)


def test_worked_by_hand():
    """Two frames of one band, twice as long: the new centres lie at -0.25, 0.25, 0.75 and 1.25, the old ones at 0 and 1."""
    made = resample(Speech(torch.tensor([[[0.0], [4.0]]]), torch.tensor([2])), ones(1, 2.0), ones(1))
    assert made.lengths.tolist() == [4]
    assert torch.allclose(made.feats[0, :, 0], torch.tensor([0.0, 1.0, 3.0, 4.0]))


def test_factors_of_one_change_nothing():
    given = speech()
    made = resample(given, ones(3), ones(3))
    assert torch.equal(made.lengths, given.lengths)
    assert torch.allclose(made.feats, given.feats, atol=1e-5)


@pytest.mark.parametrize(("stretch", "warp"), [(0.8, 1.0), (1.3, 1.0), (1.0, 0.9), (1.2, 1.15)])
def test_each_axis_is_linear_interpolation_between_centres(stretch, warp):
    given = speech(1)
    made = resample(given, ones(1, stretch), ones(1, warp))
    T, M = given.feats.shape[1:]
    rows = np.array([(t + 0.5) / stretch - 0.5 for t in range(made.feats.size(1))])
    bands = np.array([(m + 0.5) / warp - 0.5 for m in range(M)])
    by_time = np.stack([np.interp(rows, np.arange(T), given.feats[0, :, m].numpy()) for m in range(M)], 1)
    both = np.stack([np.interp(bands, np.arange(M), row) for row in by_time])
    assert np.allclose(made.feats[0].numpy(), both * (np.arange(len(both)) < int(made.lengths[0]))[:, None], atol=1e-4)


def test_an_utterance_does_not_depend_on_its_company():
    given = speech()
    stretch, warp = torch.tensor([1.1, 0.9, 1.3]), torch.tensor([0.95, 1.0, 1.05])
    together = resample(given, stretch, warp)
    for i in range(3):
        n = int(given.lengths[i])
        alone = resample(Speech(given.feats[i : i + 1, :n], given.lengths[i : i + 1]), stretch[i : i + 1], warp[i : i + 1])
        m = int(alone.lengths[0])
        assert int(together.lengths[i]) == m
        assert torch.allclose(together.feats[i, : m - 1], alone.feats[0, : m - 1], atol=1e-5)  # the last one borders on the padding
        assert not together.feats[i, m:].any()


def test_variation_is_seeded_bounded_and_leaves_padding_silent():
    given, conf = speech(), Augment(speed=0.2, warp=0.1, gain=0.5, noise=0.1)
    torch.manual_seed(7)
    once = vary(given, conf)
    torch.manual_seed(7)
    again = vary(given, conf)
    assert torch.equal(once.feats, again.feats) and torch.equal(once.lengths, again.lengths)
    assert not torch.allclose(once.feats[:, :4].mean((1, 2)), given.feats[:, :4].mean((1, 2)), atol=1e-3)
    assert ((once.lengths / given.lengths - 1).abs() <= 0.2 + 0.5 / 4).all()
    for row, n in zip(once.feats, once.lengths.tolist(), strict=True):
        assert not row[n:].any()


def test_the_recogniser_varies_in_training_only():
    texts = ["a b", "b a a", "a"]
    still = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
    conf = model_conf(Model("conf/asr/conformer_tiny.yaml", {"specaug": None, "encoder_conf": still, "decoder_conf": still}))
    torch.manual_seed(0)
    asr = EspnetRecognizer(Vocabulary.of(texts), 8, conf, Augment(gain=0.5))
    given = speech(T=40)
    given.lengths = torch.tensor([40, 33, 30])
    batch = Batch(["u1", "u2", "u3"], ["s"] * 3, texts, speech=given)
    before = given.feats.clone()

    def losses() -> set[float]:
        return {round(float(asr.loss(batch).value.detach()), 4) for _ in range(3)}

    assert len(losses()) == 3
    asr.eval()
    assert len(losses()) == 1
    asr.train()
    asr.augment = Augment()
    assert len(losses()) == 1
    assert torch.equal(given.feats, before)


def test_objectives_may_hear_what_training_hears():
    """Varied and masked whether the model is in training or not; the recording itself stays."""
    texts = ["a b", "b a a", "a"]
    asr = EspnetRecognizer(Vocabulary.of(texts), 8, model_conf(Model("conf/asr/conformer_tiny.yaml", {})), Augment(gain=0.5)).eval()
    assert asr.model.specaug is not None
    given = speech(T=40)
    before = given.feats.clone()
    torch.manual_seed(0)
    one, other = asr.as_in_training(given), asr.as_in_training(given)
    assert not torch.allclose(one.feats, given.feats) and not torch.allclose(one.feats, other.feats)
    assert torch.equal(given.feats, before)
    asr.augment = Augment()  # masks alone, which ESPnet writes in place
    assert not torch.equal(asr.as_in_training(given).feats, before) and torch.equal(given.feats, before)
    asr.model.specaug = None
    assert asr.as_in_training(given) is given
