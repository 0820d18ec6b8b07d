"""The synthesisers as random policies: what is drawn has the likelihood that is stated, and no other chance is at work."""

import math

import pytest
import torch
from scipy.stats import kstest

from cycle.models import tacotron as taco
from cycle.models.synthesizer import Action, Spread, gaussian_logp
from tests.models.test_espnet import SPKS, TEXTS, batch, synthesizer
from tests.objectives.tiny import tacotron

SPREAD = Spread(duration=0.2, pitch=0.3, energy=0.4, frame=0.2)


def test_gaussian_by_hand():
    values, means = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]]), torch.tensor([[[0.0, 2.5], [0.0, 0.0]]])
    exact = -0.5 * (1 / 0.5) ** 2 - math.log(0.5) - 0.5 * (0.5 / 2) ** 2 - math.log(2) - math.log(2 * math.pi)
    assert float(gaussian_logp(values, means, (0.5, 2.0), torch.tensor([1]))) == pytest.approx(exact, abs=1e-5)
    normal = torch.distributions.Normal(means, torch.tensor([0.5, 2.0])).log_prob(values).sum()
    assert float(gaussian_logp(values, means, (0.5, 2.0), torch.tensor([2]))) == pytest.approx(float(normal), abs=1e-4)
    assert float(gaussian_logp(values, means, [1.0], torch.tensor([1]))) == pytest.approx(-0.5 * 1.25 - math.log(2 * math.pi), abs=1e-5)


@pytest.mark.parametrize("make", [synthesizer, tacotron])
def test_logp_has_gradient_and_no_noise_and_no_company(make):
    model = make().train()
    torch.manual_seed(0)
    action, speech = model.sample(TEXTS, SPKS, SPREAD)
    assert (speech.lengths > 0).all() and action.values.size(1) == int(action.lengths.max())
    logp = model.logp(TEXTS, SPKS, action, SPREAD)
    torch.testing.assert_close(model.logp(TEXTS, SPKS, action, SPREAD), logp)
    turned = Action(action.values.flip(0), action.lengths.flip(0))
    torch.testing.assert_close(model.logp(TEXTS[::-1], SPKS[::-1], turned, SPREAD).flip(0), logp, atol=1e-2, rtol=1e-4)
    for i, n in enumerate(action.lengths.tolist()):
        alone = model.logp([TEXTS[i]], [SPKS[i]], Action(action.values[i : i + 1, :n], action.lengths[i : i + 1]), SPREAD)
        torch.testing.assert_close(alone[0], logp[i], atol=1e-2, rtol=1e-4)
    logp.sum().backward()
    assert model.training and any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(("make", "stds"), [(synthesizer, (0.2, 0.3, 0.4)), (tacotron, (0.2,) * 80)])
def test_draws_follow_the_policy_that_scores_them(make, stds):
    """(value - mean) / deviation is standard normal, with the mean that logp uses: read back from logp's gradient."""
    model = make().eval()
    torch.manual_seed(1)
    texts, spks = (TEXTS * 12, SPKS * 12) if make is synthesizer else (TEXTS, SPKS)
    action, _ = model.sample(texts, spks, SPREAD)
    values = action.values.detach().requires_grad_()
    if make is tacotron:  # a frame is also an input of later ones: only a decoder deaf to its past shows the residual alone
        with torch.no_grad():
            for p in model.tts.dec.prenet.parameters():
                p.zero_()
        action, _ = model.sample(texts, spks, SPREAD)
        values = action.values.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.logp(texts, spks, Action(values, action.lengths), SPREAD).sum(), values)
    residual = -gradient * torch.tensor(stds)  # d logp / d value = - (value - mean) / std ** 2
    inside = torch.arange(values.size(1)) < action.lengths[:, None]
    for d in range(min(len(stds), 3)):
        assert kstest(residual[..., d][inside].numpy(), "norm").pvalue > 0.01


def test_fastspeech_renders_what_it_decided():
    model = synthesizer().train()
    torch.manual_seed(0)
    action, speech = model.sample(TEXTS, SPKS, SPREAD)
    frames = ((action.values[..., 0].exp() - 1).round().clamp(min=0)).sum(1)
    assert speech.lengths.tolist() == frames.tolist()
    torch.manual_seed(0)
    _, again = model.sample(TEXTS, SPKS, SPREAD)  # training mode, the same seed: only the policy's own chance
    torch.testing.assert_close(again.feats, speech.feats)
    small = Spread(duration=1e-6, pitch=1e-6, energy=1e-6)
    torch.testing.assert_close(model.sample(TEXTS, SPKS, small)[1].feats, model.synthesize(TEXTS, SPKS).speech.feats, atol=1e-4, rtol=0)


def test_fastspeechs_action_of_a_recording():
    model, data = synthesizer(), batch()
    action = model.action(data)
    assert action.lengths.tolist() == [4, 3, 6]
    torch.testing.assert_close(action.values[0, :4, 0], torch.full((4,), math.log(11)))
    torch.testing.assert_close(action.values[:, 0, 1], torch.zeros(3))  # pitch 5.0 is the corpus's mean
    assert (action.values[1, 3:] == 0).all()


def test_tacotron_samples_are_fed_back():
    """Scored by teacher forcing on its own frames, a draw is as likely as its deviation says: 80 M-dimensional residuals of one sigma."""
    model = tacotron().eval()
    torch.manual_seed(0)
    action, speech = model.sample(TEXTS, SPKS, SPREAD)
    assert speech.lengths.tolist() == action.lengths.tolist()
    per_value = model.logp(TEXTS, SPKS, action, SPREAD) / (action.lengths * 80)
    expected = -0.5 - math.log(0.2) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(per_value, torch.full((3,), expected), atol=0.03, rtol=0)


def test_tacotrons_score_is_espnets_teacher_forcing():
    model, data = tacotron().eval(), batch()
    ours = model.score(data)
    with taco.still(model), torch.no_grad():
        for i, n in enumerate(data.speech.lengths.tolist()):
            feats = data.speech.feats[i, :n]
            ids, _ = model.vocabulary.encode([TEXTS[i]])
            voice = model.voices.embeddings([SPKS[i]], torch.device("cpu"))[0]
            out = model.tts.inference(ids[0], feats=feats, use_teacher_forcing=True, spembs=voice)["feat_gen"]
            assert float(ours[i]) == pytest.approx(-float((out - feats).abs().mean()), abs=1e-4)
    assert all(m.dropout_rate == 0.5 for m in model.modules() if isinstance(m, taco.Prenet))


@pytest.mark.parametrize("make", [synthesizer, tacotron])
def test_hard_soft_tokens_change_no_score(make):
    model, data = make().train(), batch()
    ids, _ = model.vocabulary.encode(TEXTS)
    soft = torch.nn.functional.one_hot(ids, len(model.vocabulary)).float().requires_grad_()
    value = model.score(data, soft, grad=True)
    torch.testing.assert_close(value, model.score(data), atol=1e-5, rtol=1e-4)
    value.sum().backward()
    inside = torch.arange(ids.size(1)) < torch.tensor([3, 2, 5])[:, None]
    assert (soft.grad.abs().sum(-1) > 0).equal(inside)  # every token that is said, and nothing behind the end
    other = soft.detach().clone()
    other[0, 0] = torch.eye(len(model.vocabulary))[3]
    assert not torch.equal(model.score(data, other)[0], value[0].detach())


def test_own_frames_as_inputs():
    model, data = tacotron().eval(), batch()
    with taco.still(model):
        plain = model.loss(data).value
        assert not torch.equal(model.loss(data, own_inputs=0.5).value, plain)
        torch.testing.assert_close(model.loss(data).value, plain)
        seen = []
        with taco.own_inputs(model.tts, 1.0):
            watch = [
                model.tts.dec.feat_out.register_forward_hook(lambda m, a, out: seen.append(out.detach())),
                model.tts.dec.prenet.register_forward_pre_hook(lambda m, a: seen.append(a[0])),
            ]
            model.loss(data)
            for handle in watch:
                handle.remove()
    inputs, outputs = seen[0::2], seen[1::2]
    assert (inputs[0] == 0).all() and len(inputs) == 50
    assert all(torch.equal(read, said) for read, said in zip(inputs[1:], outputs[:-1], strict=True))


def test_own_inputs_need_an_autoregressive_model():
    from cycle.errors import UserError

    with pytest.raises(UserError, match="autoregressive"):
        synthesizer().loss(batch(), own_inputs=0.5)
