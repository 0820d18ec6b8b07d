"""Recorded training steps are those that are not recorded; on a pretended GPU, whose recordings read the memory they were made with."""

import copy
import gc

import pytest
import torch
from torch import nn

from cycle.data.batch import Batch
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.graphs import AFTER, Pool, Recording
from cycle.models.noise import frozen
from cycle.settings import Augment
from tests.models.test_espnet import TTS, batch, synthesizer
from tests.models.test_taken_apart import recognizer
from tests.pretend_device import DEVICE, device
from tests.pretend_graphs import graphs as recording


def variants(count: int, shorter: bool = False) -> list[Batch]:
    """Batches of one shape and other contents; every other one of shorter texts, if wanted."""
    made = []
    for n in range(count):
        data, order = batch(), [n % 3, (n + 1) % 3, (n + 2) % 3]
        speech = data.speech.rows(order)
        speech.feats = speech.feats * (1 + 0.1 * n)
        texts = [" ".join(data.texts[i].split()[: 2 if shorter and n % 2 else None]) for i in order]
        made.append(Batch(data.utt_ids, data.spks, texts, speech, data.f0 + 0.1 * n, data.durations[order]))
    return made


def trained(model: nn.Module, graphs: bool, steps: int = AFTER + 4):
    """Losses and gradients of some steps on the device, the weights moving in between."""
    found = []
    with device(own_noise=True) as seen, recording(seen):
        model = copy.deepcopy(model).to(DEVICE).train()
        model.use_graphs(graphs)
        for number, data in enumerate(variants(steps, isinstance(model, EspnetRecognizer))):
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
    assert [len(graphs.ready) for graphs in kept.graphs.values() if graphs.ready] == [1]
    for (loss, grads, *_), (value, slopes, *_) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(loss, value, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(grads, slopes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours_left, theirs_left)
    assert ours[-1][2] < theirs[-1][2] / 3
    assert ours[0][3] == theirs[0][3]  # what is not replayed asks as often as ever: torch's CTC is the quicker one there
    return ours, theirs


HYBRIDS = (
    "conformer", "ctc alone", "attention alone", "inner CTC, conditioned",
    *(pytest.param(name, marks=pytest.mark.all) for name in ("e_branchformer", "inner CTC")),
)  # fmt: skip


@pytest.mark.parametrize("name", HYBRIDS)
def test_recogniser(name):
    model = recognizer(name)
    model.augment = Augment(speed=0.1)
    ours, _ = compared(model)
    assert ours[-1][3] == 0  # questions to the device


@pytest.mark.parametrize("extra", [{}, {"postnet_layers": 2, "postnet_chans": 8}])
def test_synthesiser(extra):
    model = synthesizer(extra={"tts_conf": {**TTS["tts_conf"], **extra}})
    model.tts.register_parameter("idle", nn.Parameter(torch.zeros(3)))  # that the loss does not depend on
    ours, _ = compared(model)
    assert ours[-1][3] == 0


@pytest.fixture
def played():
    """A synthesiser whose loss is recorded, on the device; and that device."""
    with device(own_noise=True) as seen, recording(seen):
        model = synthesizer().to(DEVICE).train()
        for module in model.modules():
            if hasattr(module, "pe"):
                module.pe = module.pe[:, :60].clone()
        model.use_graphs()
        for data in variants(AFTER + 1):
            model.loss(data.to(DEVICE)).value.backward()
            model.zero_grad()
        assert len(model.graphs["losses"].ready) == 1
        seen.forget()
        yield model, seen


def slopes(model: nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.raw.clone() for name, p in model.named_parameters() if p.grad is not None}
    for p in model.parameters():
        p.grad = None
    return found


def noiseless(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def test_what_a_replay_left_is_used_before_the_next_one():
    """Two losses before their gradients, two gradients before a step."""
    with device(own_noise=True) as seen, recording(seen):
        model = synthesizer().to(DEVICE).train()
        noiseless(model)
        model.tts.apply(lambda m: setattr(m, "dropout_rate", 0.0) if hasattr(m, "dropout_rate") else None)
        model.use_graphs()
        first, second = (data.to(DEVICE) for data in variants(2))
        alone = []
        for data in (first, second, first, second):
            slopes(model)
            model.loss(data).value.backward()
            alone.append(slopes(model))
        assert len(model.graphs["losses"].ready) == 1
        one = model.loss(first).value
        two = model.loss(second).value
        one.backward()
        torch.testing.assert_close(slopes(model), alone[0], atol=1e-5, rtol=1e-4)
        two.backward()
        torch.testing.assert_close(slopes(model), alone[1], atol=1e-5, rtol=1e-4)
        model.loss(first).value.backward()
        model.loss(second).value.backward()
        both = {name: slope + alone[1][name] for name, slope in alone[0].items()}
        torch.testing.assert_close(slopes(model), both, atol=1e-5, rtol=1e-4)
        seen.forget()
        model.loss(first)  # and nobody wants its gradient
        few = seen.operations
        model.loss(first).value.backward()
        assert seen.operations < 4 * few


def test_a_replay_spoils_what_others_of_its_pool_have_left():
    """So that what is read too late is no number here; on a GPU it would be another one."""
    with device() as seen, recording(seen):
        pool = Pool()
        first, second = (Recording(lambda x: (2 * x,), [], [torch.ones(n, device=DEVICE, requires_grad=True)], pool) for n in (2, 3))
        first.forward.replay()
        assert first.outputs[0].tolist() == [2, 2]
        second.forward.replay()
        assert first.outputs[0].isnan().all() and second.outputs[0].tolist() == [2, 2, 2]


def test_what_is_logged_stays():
    """The next replay writes where it lay."""
    with device(own_noise=True) as seen, recording(seen):
        model = recognizer("conformer").to(DEVICE).train()
        model.use_graphs()
        losses = []
        for data in variants(AFTER + 3, shorter=True):
            losses.append(model.loss(data.to(DEVICE)))
            losses[-1].value.backward()
            model.zero_grad()
        assert len(model.graphs["losses"].ready) == 1
        logged = [float(loss.stats["loss_ctc"].raw) for loss in losses[-2:]]
        halves = [float(loss.value.detach().raw) - float(loss.stats["loss_att"].raw) / 2 for loss in losses[-2:]]
        assert logged[0] != pytest.approx(logged[1]) and [value / 2 for value in logged] == pytest.approx(halves, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_probabilities_of_texts(temperature):
    """Those that are replayed are those that are not; and a temperature is that of the call."""
    texts = [["a b", "c"], ["b", "b a"], ["c", ""]]
    found = {}
    for graphs in (False, True):
        with device(own_noise=True) as seen, recording(seen):
            model = recognizer("conformer").to(DEVICE).train()
            if graphs:
                model.use_graphs()
            for data in variants(AFTER + 1):
                model.logp(data.to(DEVICE).speech, texts).sum().backward()
                model.zero_grad()
            value = model.logp(variants(1)[0].to(DEVICE).speech, texts, temperature=temperature)
            value.sum().backward()
            assert len(model.graphs["logp"].ready) == 1 if graphs else not model.graphs
            found[graphs] = value.detach().raw, slopes(model)
    torch.testing.assert_close(found[True], found[False], atol=1e-4, rtol=1e-4)


def test_evaluation_is_not_replayed(played):
    model, seen = played
    data = variants(1)[0].to(DEVICE)
    model.loss(data)
    few = seen.operations
    seen.forget()
    with torch.no_grad():
        model.loss(data)
    many = seen.operations
    model.eval()
    assert torch.equal(model.loss(data).value.raw, model.loss(data).value.raw)  # with dropout they would differ
    assert many > 3 * few


def test_noise_is_drawn_anew(played):
    model, _ = played
    data = variants(1)[0].to(DEVICE)
    assert len({float(model.loss(data).value.detach().raw) for _ in range(3)}) == 3


def test_a_table_of_positions_that_grows_is_kept(played):
    """ESPnet replaces it when a longer utterance comes; a recording reads the one it was made with."""
    model, _ = played
    longer = batch()
    longer.speech = longer.speech.wide(70)
    longer.speech.known = longer.speech.lengths = longer.speech.lengths + 20
    longer.f0 = torch.nn.functional.pad(longer.f0, (0, 20))
    longer.durations[:, 0] += 20
    tables = [id(m.pe) for m in model.modules() if hasattr(m, "pe")]
    with torch.no_grad():
        model.loss(longer.to(DEVICE))
    assert [id(m.pe) for m in model.modules() if hasattr(m, "pe")] != tables
    model.loss(variants(1)[0].to(DEVICE)).value.backward()


UNSTEADY = (
    ("conformer", "encoder.encoders.0", "stochastic_depth_rate", 0.1),
    ("e_branchformer", "encoder", "layer_drop_rate", 0.1),
    ("e_branchformer", "encoder", "gradient_checkpoint_layers", [0]),
    ("conformer", "decoder.decoders.0.self_attn", "use_flash_attn", True),
)


@pytest.mark.parametrize(("name", "layer", "setting", "value"), UNSTEADY)
def test_models_whose_steps_differ_are_not_recorded(name, layer, setting, value, caplog):
    model = recognizer(name)
    part = model.model.get_submodule(layer)
    assert not getattr(part, setting)
    part.__dict__[setting] = value
    caplog.set_level("INFO", "cycle")
    model.use_graphs()
    assert not model.graphs and "not every step of this recogniser is the same" in caplog.text


def test_others_are_not_recorded(caplog):
    caplog.set_level("INFO", "cycle")
    recognizer("an RNN decoder").use_graphs()
    synthesizer(extra={"tts_conf": {**TTS["tts_conf"], "use_masking": False, "use_weighted_masking": True}}).use_graphs()
    assert caplog.text.count("no plain") == 2


def test_a_question_to_the_device_cannot_be_recorded():
    """What the tests above rest on."""
    with device() as seen, recording(seen), pytest.raises(RuntimeError, match="while a graph is recorded"):
        net = nn.Linear(2, 2).to(DEVICE)
        Recording(lambda x: (net(x * float(x.sum())),), list(net.parameters()), [torch.ones((1, 2), device=DEVICE)], Pool())


def test_where_some_parameters_are_frozen_nothing_is_replayed(played):
    """A recording made while they were frozen would have no gradient for ever."""
    model, seen = played
    data = variants(1)[0].to(DEVICE)
    model.loss(data)
    few = seen.operations
    for part in (model.tts.feat_out, model.tts.feat_out, model.tts.feat_out, model.tts.encoder):
        model.zero_grad()
        with frozen(part.parameters()):
            seen.forget()
            model.loss(data).value.backward()
        assert seen.operations > 3 * few and all(p.grad is None for p in part.parameters())


def shapes(model: nn.Module, count: int) -> list[int]:
    """Trains on so many shapes, each as often as it takes; how many recordings there are after each."""
    found = []
    for n in range(count):
        data = batch()
        data.speech = data.speech.wide(56 + 8 * n)
        data.f0 = nn.functional.pad(data.f0, (0, 6 + 8 * n))
        for _ in range(AFTER + 1):
            model.zero_grad()
            model.loss(data.to(DEVICE)).value.backward()
        found.append(len(model.graphs["losses"].ready))
    return found


def test_recordings_are_limited_and_share_memory(monkeypatch):
    monkeypatch.setattr("cycle.models.graphs.MOST", 2)
    pools = []
    monkeypatch.setattr("cycle.models.graphs.Pool", lambda: pools.append(Pool()) or pools[-1])
    with device(own_noise=True) as seen, recording(seen):
        model = synthesizer().to(DEVICE).train()
        model.use_graphs()
        assert shapes(model, 3) == [1, 2, 2] and len(pools) == 1


REFUSED = torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing\nFor debugging consider")
BROKEN = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nFor debugging consider")


@pytest.mark.parametrize(
    ("error", "said"),
    [(torch.OutOfMemoryError(), "out of memory"), (REFUSED, "CUDA error: operation not permitted when stream is capturing")],
)
def test_where_nothing_can_be_recorded_steps_go_on(monkeypatch, caplog, error, said):
    """And the statistics of BatchNorm are what they were before the attempt."""

    def full(run, params, inputs, *others):
        made = Recording(run, params, inputs, *others)
        if inputs[2].size(1) == 64:
            raise error
        return made

    with device(own_noise=True) as seen, recording(seen):
        model = synthesizer(extra={"tts_conf": {**TTS["tts_conf"], "postnet_layers": 1, "postnet_chans": 8}}).to(DEVICE).train()
        model.use_graphs()
        monkeypatch.setattr("cycle.models.graphs.Recording", full)
        assert shapes(model, 1) == [1]
        calls = []
        function = model.graphs["losses"].function
        watched = lambda *given: calls.append([b.raw.clone() for b in model.buffers()]) or function(*given)  # noqa: E731
        monkeypatch.setattr(model.graphs["losses"], "function", watched)
        assert shapes(model, 3) == [1, 0, 0] and caplog.text.count(f"graphs: {said} after 1 recordings; going on step by step") == 1
        torch.testing.assert_close(calls[AFTER], calls[AFTER + 2])  # the first run of the attempt, and the step that followed
        assert model.tts.feat_out.weight.grad is not None and gc.isenabled()


def test_other_errors_are_errors(monkeypatch):
    def breaks(*given):
        raise BROKEN

    with device(own_noise=True) as seen, recording(seen):
        model = synthesizer().to(DEVICE).train()
        model.use_graphs()
        monkeypatch.setattr("cycle.models.graphs.Recording", breaks)
        with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
            shapes(model, 1)
