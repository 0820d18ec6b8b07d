"""Both models on a pretended GPU: nothing mixes the sides, what comes out is what the host says, and larger batches wait no more."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cycle import rewards
from cycle.models.frame_ctc import FrameCTC
from cycle.models.synthesizer import Variation
from cycle.settings import Augment, FrameModel, Search
from tests.models.test_espnet import SPKS, TEXTS, batch, recognizer, synthesizer
from tests.objectives.tiny import talkative
from tests.pretend_device import DEVICE, OF_CTC, device

# Not the joint search: ESPnet's prefix scorer asks whether the device is CUDA.
SEARCHES = (Search("ctc_greedy"), Search("ctc_beam", beam=4, nbest=3), Search("attention", beam=1))


def both(work):
    """What `work(device)` gives on the host and on the device, and how often the latter was waited for."""
    with torch.no_grad():
        ours = work(torch.device("cpu"))
        with device() as seen:
            return ours, work(DEVICE), seen


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: f"{search.method} {search.beam}")
def test_transcripts(search):
    host, there, _ = both(lambda on: talkative().to(on).eval().transcribe(batch().speech.to(on), search))
    assert [[h.text for h in row] for row in there] == [[h.text for h in row] for row in host] and any(row[0].text for row in host)
    np.testing.assert_allclose([h.logp for row in there for h in row], [h.logp for row in host for h in row], atol=1e-4)


@pytest.mark.parametrize("method", ["ctc_greedy", "ctc_beam"])
def test_nobody_waits_but_for_what_is_fetched_and_larger_batches_wait_no_more(method):
    model, counts = talkative().eval(), []
    with device() as seen:
        model.to(DEVICE)
        for times in (1, 1, 8):  # at first ESPnet sends its tables of positions
            seen.waits.clear()
            lists = model.listen(batch().speech.rows(list(range(3)) * times).to(DEVICE), Search(method))
            assert any(row[0].text for row in lists())
            counts.append([(line.partition(":")[0], count) for line, count in seen.waits.items()])
    assert counts[1:] == [[("device.py", 2)]] * 2  # tokens and log-probabilities; a GPU's are on their way, see tests/test_device.py


def test_renderings():
    def work(on):
        generator = torch.Generator().manual_seed(3)
        return synthesizer().to(on).eval().synthesize(TEXTS, SPKS, variation=Variation(0.2, 0.2, 0.5, 0.5), generator=generator)

    host, there, _ = both(work)
    torch.testing.assert_close(there.speech.feats.raw, host.speech.feats, atol=1e-4, rtol=1e-4)
    assert torch.equal(there.durations.raw, host.durations)


def test_alignments_and_the_synthesisers_judgement():
    def work(on):
        torch.manual_seed(0)
        aligner = FrameCTC(recognizer().vocabulary, 80, FrameModel(8, 2, 0, 0.3, 1, 0, 0.0, 0)).eval().to(on)
        data, tts = batch().to(on), synthesizer().to(on).eval()
        frames, _ = aligner.align(data.speech, TEXTS)
        return frames.cpu(), rewards.reconstruction(data, [0, 0, 1, 2], ["a b", "c", "", "c c a b a"], tts, aligner)

    host, there, _ = both(work)
    assert torch.equal(there[0], host[0]) and there[1] == pytest.approx(host[1], abs=1e-4) and host[1][2] is None


@pytest.mark.parametrize("subsample", [1, 3])
def test_the_aligners_and_the_judges_loss(subsample):
    """Frames behind a stride are counted on the host as the model counts them; only torch's own loss waits."""

    def work(on):
        torch.manual_seed(0)
        model = FrameCTC(recognizer().vocabulary, 80, FrameModel(8, 2, 0, 0.0, subsample, 0, 0.0, 0)).eval().to(on)
        data = batch().to(on)
        logp, lengths = model.emissions(data.speech)
        ids, sizes = model.vocabulary.encode(TEXTS)
        exact = torch.nn.functional.ctc_loss(logp.cpu().transpose(0, 1), ids, lengths.cpu(), sizes, reduction="none").mean()
        return model, data, exact

    (model, data, exact), there, _ = both(work)
    torch.testing.assert_close(model.loss(data).value, exact)
    with device() as seen:
        value = there[0].loss(there[1]).value
    torch.testing.assert_close(value.raw, exact)
    assert seen.waits.total() == OF_CTC["_ctc_loss"]


def test_training_speech_is_varied_on_the_device():
    """By numbers drawn on the host: it is the same speech, and nobody is waited for."""
    host, there, seen = both(lambda on: SimpleNamespace(model=recognizer().train().to(on), speech=batch().speech.to(on)))
    for made in (host, there):
        made.model.augment = Augment(0.1, 0.1, 0.0, 0.0)  # loudness and noise are drawn where they are added
    torch.manual_seed(1)
    ours = host.model.as_in_training(host.speech)
    seen.waits.clear()
    with device() as seen:
        torch.manual_seed(1)
        theirs = there.model.as_in_training(there.speech)
    torch.testing.assert_close(theirs.feats.raw, ours.feats)
    assert torch.equal(theirs.lengths.raw, ours.lengths) and torch.equal(theirs.known, ours.lengths)
    assert not torch.equal(ours.lengths, host.speech.lengths) and seen.waits.total() == 0


def test_the_device_is_a_device():
    with device() as seen:
        there, host = torch.ones(3).to(DEVICE), torch.ones(3)
        seen.waits.clear()
        with pytest.raises(RuntimeError, match="host and on the device"):
            there + host
        with pytest.raises(RuntimeError, match="host and on the device"):
            torch.stack([there.sum(), host.sum()])
        with pytest.raises(TypeError, match="no array"):
            there.numpy()
        assert torch.equal((there * 2 + torch.tensor(1.0)).cpu(), torch.full((3,), 3.0)) and seen.waits.total() == 1
        host.to(DEVICE, non_blocking=True)
        assert seen.waits.total() == 1
        asking = (lambda: float(there.sum()), lambda: bool(there.any()), lambda: there[there > 0], there.nonzero, there.tolist,
                  lambda: host.to(DEVICE), lambda: torch.tensor([1.0], device=DEVICE), lambda: there[torch.tensor([0])])  # fmt: skip
        for ask in asking:
            seen.waits.clear()
            ask()
            assert seen.waits.total() == 1
