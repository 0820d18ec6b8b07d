"""The attention decoder: sampling, scoring and ESPnet's own loss say the same; nothing depends on company, padding or training noise."""

import itertools

import pytest
import torch

from cycle.data.types import Speech
from cycle.models import attention
from cycle.models.recognizer import UNFIT
from tests.models.test_espnet import TEXTS, batch, recognizer
from tests.models.test_sampling import same_frequencies

TOKENS = ("<unk>", "a", "b", "c")  # what a text may hold: no blank, no sentence end


def short(frames=9) -> Speech:
    """Speech of which the encoder makes two outputs."""
    torch.manual_seed(3)
    return Speech(torch.randn(1, frames, 80), torch.tensor([frames]))


def every_text(outputs):
    return [" ".join(t) for n in range(outputs + 1) for t in itertools.product(TOKENS, repeat=n)]


def outputs(model, speech):
    return int(model.eval().emissions(speech)[1][0])


@pytest.mark.parametrize("by", ["attention", "ctc"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_each_branch_is_a_distribution_over_texts(by, temperature):
    model, speech = recognizer(), short()
    texts = every_text(outputs(model, speech))
    assert len(texts) == 1 + 4 + 16
    logp = model.logp(speech, [texts], by, temperature)[0]
    assert float(logp[logp > UNFIT].exp().sum().detach()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("by", ["attention", "ctc"])
def test_texts_come_as_often_as_the_model_says(by):
    torch.manual_seed(0)
    model, speech = recognizer(), short()
    texts = every_text(outputs(model, speech))
    longer = Speech(torch.cat([speech.feats, torch.randn(1, 31, 80)], dim=1).repeat(2, 1, 1), torch.tensor([9, 40]))
    logp = model.logp(speech, [texts], by, 0.8)[0].detach()
    exact = {t: float(p.exp()) for t, p in zip(texts, logp, strict=True) if p > UNFIT}
    drawn = model.sample(longer, 3000, 0.8, by)[0]
    assert set(drawn) <= set(exact)
    common = {t: p for t, p in exact.items() if p * 3000 > 5}
    assert same_frequencies([t for t in drawn if t in common], common) > 0.01


def test_stepping_and_teacher_forcing_agree():
    """The state that the decoder keeps between steps is worth the whole history, and greedy is the most probable continuation."""
    model, data = recognizer().eval(), batch()
    with torch.no_grad():
        model.model.decoder.output_layer.bias[model.model.eos] -= 1.0  # or it says nothing at all
        out, frames = model._encode(data.speech)
    texts = [row[0] for row in model.sample(data.speech, 1, 0.0, "attention")]
    assert all(texts)
    ids, lengths = model.vocabulary.encode(texts)
    inputs, targets = attention.bordered(ids, lengths, model.model.eos)
    with torch.no_grad():
        best = attention.next_logp(model.model.decoder(out, frames, inputs, lengths + 1)[0]).argmax(-1)
    for i, n in enumerate(lengths.tolist()):
        spoken = min(n + 1, int(frames[i]))  # at the last output the end is certain
        assert best[i, :spoken].tolist() == targets[i, :spoken].tolist()


def test_sequences_end_at_the_end_token():
    model, data = recognizer(), batch()
    with torch.no_grad():
        model.model.decoder.output_layer.bias[model.model.eos] = 50.0
    assert model.sample(data.speech, 3, 1.0, "attention") == [[""] * 3] * 3
    with torch.no_grad():
        model.model.decoder.output_layer.bias[model.model.eos] = -50.0
    lengths = model.emissions(data.speech)[1].tolist()
    for row, frames in zip(model.sample(data.speech, 2, 1.0, "attention"), lengths, strict=True):
        assert [len(t.split()) for t in row] == [frames] * 2  # what never ends is cut at the encoder's outputs, where its end is certain
        assert (model.logp(data.speech, [row] * 3, "attention")[lengths.index(frames)] > UNFIT).all()


def test_too_long_a_text_does_not_fit():
    model, speech = recognizer(), short()
    longest = outputs(model, speech)
    logp = model.logp(speech, [[" ".join(["a"] * (longest + 1)), " ".join(["a"] * longest)]], "attention")[0]
    assert float(logp[0].detach()) == UNFIT and float(logp[1].detach()) > UNFIT


@pytest.mark.parametrize("by", ["attention", "ctc"])
def test_logp_depends_on_nothing_but_its_utterance(by):
    model, data = recognizer().train(), batch()
    texts = [["a b", ""], ["b", "b a"], ["c c a b a", "a b c"]]
    whole = model.logp(data.speech, texts, by)
    torch.testing.assert_close(model.logp(data.speech, texts, by), whole)  # no dropout, no SpecAugment
    turned = Speech(data.speech.feats.flip(0), data.speech.lengths.flip(0))
    torch.testing.assert_close(model.logp(turned, texts[::-1], by).flip(0), whole, atol=1e-4, rtol=1e-4)
    for i, n in enumerate(data.speech.lengths):
        alone = model.logp(Speech(data.speech.feats[i : i + 1, :n], data.speech.lengths[i : i + 1]), [texts[i]], by)
        torch.testing.assert_close(alone[0], whole[i], atol=1e-4, rtol=1e-4)
    noisy = data.speech.feats.clone()
    noisy[1, 30:] = 9.0  # behind the end
    torch.testing.assert_close(model.logp(Speech(noisy, data.speech.lengths), texts, by), whole, atol=1e-4, rtol=1e-4)


def test_logp_of_attention_is_espnets():
    model, data = recognizer().eval(), batch()
    ids, lengths = model.vocabulary.encode(TEXTS, "cpu", attention.IGNORE)
    out, frames = model.model.encode(data.speech.feats, data.speech.lengths)
    theirs = -model.model.nll(out, frames, ids, lengths)
    ours = model.logp(data.speech, [[t] for t in TEXTS], "attention")[:, 0]
    # ESPnet gives a blank a probability too
    torch.testing.assert_close(ours, theirs, atol=3.0, rtol=0)
    with torch.no_grad():
        model.model.decoder.output_layer.bias[0] = -50.0
    theirs = -model.model.nll(out, frames, ids, lengths)
    torch.testing.assert_close(model.logp(data.speech, [[t] for t in TEXTS], "attention")[:, 0], theirs, atol=1e-4, rtol=1e-4)


def test_nbest_loss_of_one_text_is_espnets_loss():
    model, data = recognizer().eval(), batch()
    ours = model.nbest_loss(data.speech, [[t] for t in TEXTS], torch.ones(3, 1)).value
    torch.testing.assert_close(ours, model.loss(data).value.squeeze(), atol=1e-4, rtol=1e-4)


def test_nbest_loss_weighs():
    model, data = recognizer().eval(), batch()
    other = ["a", "a b", "b"]
    lists = [list(pair) for pair in zip(TEXTS, other, strict=True)]
    weights = torch.tensor([[0.7, 0.3], [1.0, 0.0], [0.2, 0.8]])
    single = [[model.nbest_loss(Speech(data.speech.feats[i : i + 1], data.speech.lengths[i : i + 1]), [[t]], torch.ones(1, 1)).value
               for t in row] for i, row in enumerate(lists)]  # fmt: skip
    exact = (torch.tensor(single) * weights).sum() / 3
    torch.testing.assert_close(model.nbest_loss(data.speech, lists, weights).value.detach(), exact, atol=1e-4, rtol=1e-4)


def encoded(model, data):
    """The decoder's arguments under teacher forcing."""
    ids, lengths = model.vocabulary.encode(TEXTS)
    out, frames = model._encode(data.speech)
    return out, frames, attention.bordered(ids, lengths, model.model.eos)[0], lengths + 1


@torch.no_grad()
def test_own_inputs_change_a_share_of_the_inputs():
    model, data = recognizer().eval(), batch()
    given, end = encoded(model, data), model.model.eos
    torch.manual_seed(0)
    own, half = (attention.own_inputs(model.model.decoder, *given, share, end) for share in (1.0, 0.5))
    true = given[2]
    assert (own[:, 0] == end).all() and not torch.equal(own[:, 1:], true[:, 1:])
    changed = [(half[i, 1 : 1 + n] != true[i, 1 : 1 + n]).float().mean() for i, n in enumerate((3, 2, 5))]
    assert 0 < sum(changed) / 3 < 1


def test_own_inputs_change_the_loss_and_nothing_else():
    model, data = recognizer().eval(), batch()
    plain = model.loss(data)
    mixed = model.loss(data, own_inputs=1.0)
    assert not torch.equal(mixed.value, plain.value) and torch.equal(mixed.stats["loss_ctc"], plain.stats["loss_ctc"])
    torch.testing.assert_close(model.loss(data).value, plain.value)


@torch.no_grad()
def test_own_inputs_are_what_the_model_says():
    """With a decoder that always says b, every own input is b."""
    model, data = recognizer().eval(), batch()
    b = model.vocabulary.index["b"]
    model.model.decoder.output_layer.bias[b] = 60.0
    assert (attention.own_inputs(model.model.decoder, *encoded(model, data), 1.0, model.model.eos)[:, 1:] == b).all()


@torch.no_grad()
def test_own_inputs_stand_behind_what_they_were_drawn_from():
    """A decoder that is always sure: the input at place j is what it predicts at place j - 1 given the true history."""
    model, data = recognizer().eval(), batch()
    model.model.decoder.output_layer.weight.mul_(1e4)
    given = encoded(model, data)
    said = attention.next_logp(model.model.decoder(*given)[0]).argmax(-1)
    own = attention.own_inputs(model.model.decoder, *given, 1.0, model.model.eos)
    assert torch.equal(own[:, 1:], said[:, :-1]) and len(set(said[:, :-1].flatten().tolist())) > 1


def test_soft_tokens_spell_the_text_and_carry_gradient():
    model, data = recognizer().train(), batch()
    texts = [row[0] for row in model.sample(data.speech, 1, 1.0, "attention")]
    hot = model.soft_tokens(data.speech, texts, 1.0)
    ids, lengths = model.vocabulary.encode(texts)
    for row, own, n in zip(hot, ids, lengths, strict=True):
        torch.testing.assert_close(row[:n].detach(), torch.nn.functional.one_hot(own[:n], len(model.vocabulary)).float(), atol=1e-5, rtol=0)
    (hot * torch.randn_like(hot)).sum().backward()
    assert model.model.decoder.output_layer.weight.grad.abs().sum() > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.model.encoder.parameters())


def test_a_model_without_decoder_says_so():
    from cycle.errors import UserError
    from cycle.models.checkpoint import model_conf
    from cycle.models.espnet_asr import EspnetRecognizer
    from cycle.models.vocabulary import Vocabulary
    from cycle.settings import Model
    from tests.models.test_espnet import ASR

    conf = model_conf(Model("conf/asr/conformer.yaml", {**ASR, "model_conf": {"ctc_weight": 1.0}}))
    model, data = EspnetRecognizer(Vocabulary.of(TEXTS), 80, conf), batch()
    assert torch.isfinite(model.loss(data).value)
    assert torch.isfinite(model.nbest_loss(data.speech, [[t] for t in TEXTS], torch.ones(3, 1)).value)
    with pytest.raises(UserError, match="no attention decoder"):
        model.logp(data.speech, [[t] for t in TEXTS], "attention")
