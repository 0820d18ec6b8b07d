"""On a GPU the host must run ahead: how often a step of each objective makes it wait, counted on a pretended device.

`python -m tests.objectives.test_waits` prints those of ESPnet's own forward beside ours.
"""

from collections.abc import Iterator

import pytest
import torch

from cycle.data.batch import Batch
from cycle.models.attention import IGNORE
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.frame_ctc import FrameCTC
from cycle.models.graphs import AFTER
from cycle.settings import FrameModel
from tests.models.test_espnet import batch, recognizer, synthesizer
from tests.objectives.test_objectives import NEED_LISTS, OBJECTIVES
from tests.objectives.tiny import origin, pair, tacotron, with_lists
from tests.pretend_device import DEVICE, Pretended, device
from tests.pretend_graphs import graphs

# Waits of a step. Every CTC loss with gradient has eight, in two places: the frames behind the encoder, which torch wants to have on the
# host, and copies of torch's own, four forward and three backward. One is for the frames of a rendering; what searches, samples or asks a
# judge brings texts and scores to the host.
WAITS = {
    "asr_supervised": 8,
    "tts_supervised": 0,
    "asr_scheduled_sampling": 8,
    "pseudo_label": 10,
    "tts_through_asr": 9,
    "tts_through_asr_attention": 1,
    "speaker_consistency": 1,
    "asr_through_tts": 8,
    "asr_through_tts_gumbel": 6,
    "asr_through_tts_reinforce": 13,
    "scst": 10,
    "scst_greedy": 11,
    "scst_attention": 5,
    "mwer": 16,
    "mwer_attention": 8,
    "asr_dpo": 23,
    "asr_self_play": 10,
    "tts_dpo": 13,
    "tts_self_play": 4,
}


def steps(name: str, on: torch.device, data: Batch | None = None) -> Iterator[torch.Tensor]:
    """Losses of one step and the next, backward included."""
    kind, args, make = OBJECTIVES[name]
    objective, models, start = kind(**args), pair(make), origin(make)
    start.aligner = FrameCTC(start.asr.vocabulary, 80, FrameModel(8, 2, 0, 0.3, 1, 0, 0.0, 0)).eval()  # no recurrent layers
    for model in (models.asr, models.tts, start.asr, start.tts, start.aligner):
        model.to(on)
    if hasattr(objective, "begin"):
        objective.begin(start)
    data = (data or (with_lists() if name in NEED_LISTS else batch())).to(on)
    for number in range(2):
        torch.manual_seed(number)
        loss = objective(data, models, 0)
        if loss.weight:
            loss.value.backward()
        yield loss.value.detach()


def on_device(name: str, data: Batch | None = None) -> tuple[Pretended, list[torch.Tensor]]:
    """The second step's waits (at the first, ESPnet sends its tables of positions), and both losses."""
    with device() as seen:
        values = []
        for value in steps(name, DEVICE, data):
            values.append(value.raw)
            if len(values) == 1:
                seen.forget()
    return seen, values


def espnets(data: Batch) -> tuple[Pretended, Pretended]:
    """Waits of ESPnet's own forward and backward: of its recogniser, of its synthesiser."""
    found = []
    for model in (recognizer(), synthesizer()):
        with device() as seen:
            model.to(DEVICE).train()
            sent = data.to(DEVICE)
            for _ in range(2):
                seen.forget()
                if isinstance(model, EspnetRecognizer):
                    ids = model.vocabulary.encode(sent.texts, DEVICE, IGNORE)
                    model.model(sent.speech.feats.clone(), sent.speech.lengths, *ids)[0].backward()
                else:
                    model.tts(**model.inputs(sent))[0].backward()
        found.append(seen)
    return found[0], found[1]


def replayed(data: Batch) -> list[Pretended]:
    """What is left to the host in a step whose network is replayed: of the recogniser, of the synthesiser."""
    found = []
    for model in (recognizer(), synthesizer()):
        with device() as seen, graphs(seen):
            model.to(DEVICE).train()
            model.use_graphs()
            for _ in range(AFTER + 2):
                seen.forget()
                model.loss(data.to(DEVICE)).value.backward()
                model.zero_grad()
        found.append(seen)
    return found


ALIKE = ("asr_through_tts_gumbel", "scst_greedy", "scst_attention", "mwer_attention", "asr_self_play", "tts_self_play", "asr_dpo")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.all if name in ALIKE else ()) for name in WAITS])
def test_a_step_on_the_device_is_that_on_the_host(name):
    seen, values = on_device(name)
    torch.testing.assert_close(values, list(steps(name, torch.device("cpu"))), atol=1e-4, rtol=1e-4)
    assert seen.waits.total() == WAITS[name], seen.waits


def test_every_objective_is_counted():
    assert set(WAITS) == {name for name, (_, _, make) in OBJECTIVES.items() if make is not tacotron}


@pytest.mark.all  # what is counted above is counted in one size
def test_larger_batches_wait_no_more():
    twice = repeated(batch(), 2)
    for name in ("asr_supervised", "tts_supervised", "scst", "mwer"):
        assert on_device(name, twice)[0].waits.total() <= WAITS[name], name
    asr, tts = espnets(twice)
    assert asr.waits.total() > 24 and tts.waits.total() > 24  # the reason for computing these losses ourselves
    for name, stock in (("asr_supervised", asr), ("tts_supervised", tts)):
        once, more = (on_device(name, data)[0].operations for data in (None, twice))
        assert once == more < stock.operations


def repeated(data: Batch, times: int) -> Batch:
    rows = list(range(len(data.texts))) * times
    return Batch(data.utt_ids * times, data.spks * times, data.texts * times, data.speech.rows(rows), data.f0[rows], data.durations[rows])


if __name__ == "__main__":
    for utterances in (3, 30, 120):
        data = repeated(batch(), utterances // 3)
        theirs, ours = espnets(data), (on_device("asr_supervised", data)[0], on_device("tts_supervised", data)[0])
        for model, stock, own, again in zip(("recogniser", "synthesiser"), theirs, ours, replayed(data), strict=True):
            said = [f"{seen.operations} operations, {seen.waits.total()} waits" for seen in (stock, own, again)]
            print(f"{model}, {utterances} utterances: ESPnet's forward {said[0]}; ours {said[1]}; replayed, besides, {said[2]}")
