"""Recorded training steps are those that are not recorded; on a pretended GPU, whose recordings read the memory they were made with."""

import copy

import pytest
import torch
from torch import nn

from cycle.data.batch import Batch
from cycle.models.graphs import AFTER, Graphs
from cycle.settings import Augment
from tests.models.test_espnet import TTS, batch, synthesizer
from tests.models.test_taken_apart import recognizer
from tests.pretend_device import DEVICE, device
from tests.pretend_graphs import recorder


def variants(count: int) -> list[Batch]:
    """Batches of one shape and other contents."""
    made = []
    for n in range(count):
        data, order = batch(), [n % 3, (n + 1) % 3, (n + 2) % 3]
        speech = data.speech.rows(order)
        speech.feats = speech.feats * (1 + 0.1 * n)
        made.append(Batch(data.utt_ids, data.spks, [data.texts[i] for i in order], speech, data.f0 + 0.1 * n, data.durations[order]))
    return made


def trained(model: nn.Module, graphs: bool, steps: int = AFTER + 4):
    """Losses and gradients of some steps on the device, the weights moving in between."""
    found = []
    with device(own_noise=True) as seen, pytest.MonkeyPatch.context() as patch:
        patch.setattr("cycle.models.graphs.AFTER", AFTER if graphs else steps)
        model = copy.deepcopy(model).to(DEVICE).train()
        model.use_graphs()
        model.graphs.record = recorder(seen)
        for number, data in enumerate(variants(steps)):
            torch.manual_seed(number)
            seen.noise = torch.get_rng_state()
            seen.forget()
            loss = model.loss(data.to(DEVICE)).value
            loss.backward()
            grads = {name: p.grad.raw.clone() for name, p in model.named_parameters() if p.grad is not None}
            found.append((loss.detach().raw.clone(), grads, seen.operations, seen.waits.total()))
            with torch.no_grad():
                for p in model.parameters():
                    if p.grad is not None:
                        p -= 0.01 * p.grad
                        p.grad = None
        buffers = {name: b.raw.clone() for name, b in model.named_buffers()}
    return found, buffers, model


def compared(model: nn.Module):
    ours, ours_left, kept = trained(model, True)
    theirs, theirs_left, _ = trained(model, False)
    assert len(kept.graphs.ready) == 1
    for (loss, grads, operations, _), (value, slopes, most, _) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(loss, value, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(grads, slopes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours_left, theirs_left)
    assert ours[-1][2] < theirs[-1][2] / 3
    return ours, theirs


HYBRIDS = ("conformer", "e_branchformer", "ctc alone", "attention alone", "inner CTC", "inner CTC, conditioned")


@pytest.mark.parametrize("name", HYBRIDS)
def test_recogniser(name):
    model = recognizer(name)
    model.augment = Augment(speed=0.1)
    compared(model)


@pytest.mark.parametrize("extra", [{}, {"postnet_layers": 2, "postnet_chans": 8}])
def test_synthesiser(extra):
    model = synthesizer(extra={"tts_conf": {**TTS["tts_conf"], **extra}})
    ours, _ = compared(model)
    assert ours[-1][3] == 0
