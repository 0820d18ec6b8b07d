"""Training in batches of few shapes, recorded and replayed, on a pretended GPU."""

from collections import Counter

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from cycle.data.batch import Loss
from cycle.data.features import FeatureStore, ShardWriter
from cycle.device import fabric as make_fabric
from cycle.exchange.pools import recorded
from cycle.models.graphs import AFTER, Graphs, Recording, recordable
from cycle.objectives.base import Models
from cycle.objectives.speech_chain import TtsThroughAsr
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.settings import Augment, Optimizer, Run
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture
from tests.models.test_espnet import recognizer, synthesizer
from tests.pretend_device import DEVICE, device
from tests.pretend_graphs import Tape
from tests.pretend_graphs import graphs as recording

STEPS = 60


@pytest.fixture
def paired(tmp_path):
    """Ninety made-up utterances of 20 to 60 frames, with durations."""
    rng, writer = np.random.default_rng(0), ShardWriter(tmp_path / "feats", 0)
    texts = [" ".join(rng.choice(["a", "b", "c"], 1 + n % 5)) for n in range(90)]
    for n, text in enumerate(texts):
        frames = 20 + (7 * n) % 41
        writer.add(f"u{n}", rng.normal(size=(frames, 80)).astype(np.float32), spk="s1", text=text, f0=np.full(frames, 5.0, np.float32))
    writer.close()
    stream = recorded("paired", FeatureStore(tmp_path / "feats"))
    stream.durations = [np.array([4] * len(t.split()) + [f - 4 * len(t.split())]) for t, f in zip(stream.texts, stream.frames, strict=True)]
    return stream


def nodes_alive(params) -> int:
    """Parameters whose node is still that of an autograd graph which `marking` saw."""
    return sum("seen" in torch.autograd.graph.get_gradient_edge(p).node.metadata for p in params)


def marking(function, params):
    """Marks the nodes of the parameters in every autograd graph that it makes."""

    def run(*given):
        out = function(*given)
        for p in params:
            torch.autograd.graph.get_gradient_edge(p).node.metadata["seen"] = True
        return out

    return run


class Idle:
    """Computes something with the recogniser and has nothing to learn from it."""

    trains = frozenset({"asr"})

    def __call__(self, batch, models, step):
        emissions, _ = marking(models.asr.emissions, models.asr.graphs.params)(batch.speech)
        return Loss(emissions.sum(), 0, {})


class Through:
    """The synthesiser learns through the recogniser, whose layers keep what leads back to its parameters."""

    trains = frozenset({"tts"})

    def __call__(self, batch, models, step):
        loss = TtsThroughAsr()(batch, models, step)
        for p in models.tts.graphs.params:
            torch.autograd.graph.get_gradient_edge(p).node.metadata["seen"] = True
        return loss


@pytest.mark.parametrize(
    ("names", "before", "behind"),
    [(("asr",), {}, {}), (("asr",), {"idle": Idle()}, {}), (("asr", "tts"), {}, {}), (("tts",), {}, {"through": Through()})],
)
def test_most_steps_are_replayed(names, before, behind, paired, tmp_path, monkeypatch):
    """And no autograd graph is alive when a recording begins, and none of it behind it: it would tie one stream to the other."""
    monkeypatch.setattr(Fabric, "device", property(lambda self: DEVICE))
    runner = make_fabric("cpu", "32")
    mixture = Mixture({"paired": paired}, {"paired": 1.0}, 400, seed=1, even=True)
    calls = Counter()
    with device(own_noise=True) as seen, recording(seen):
        models = Models(recognizer().to(DEVICE), synthesizer(("s1",)).to(DEVICE))
        models.asr.augment = Augment(speed=0.15, warp=0.08, gain=0.2, noise=0.1)
        start = {name: [p.raw.clone() for p in getattr(models, name).parameters()] for name in names}
        parts = {name: (getattr(models, name), Optimizer(lr=1e-3)) for name in names}
        for name in parts:
            getattr(models, name).use_graphs(near=(models.asr, models.tts))
            graphs = getattr(models, name).graphs
            graphs.function = marking(graphs.function, graphs.params)

        class Watched(Recording):
            def __init__(self, run, params, *given):
                assert nodes_alive(params) == 0
                super().__init__(run, params, *given)
                calls[id(params), "recorded"] += 1

        def replay(graphs, model, *inputs):
            first = list(graphs.ready)
            played, out = Tape.replays, called(graphs, model, *inputs)
            calls[id(graphs.params), "replayed"] += Tape.replays > played
            if len(graphs.ready) > len(first):
                del out
                assert nodes_alive(graphs.params) == 0
                return called(graphs, model, *inputs)
            return out

        called = Graphs.__call__
        monkeypatch.setattr("cycle.models.graphs.Recording", Watched)
        monkeypatch.setattr(Graphs, "__call__", replay)
        objectives = {**before, **{name: AsrSupervised() if name == "asr" else TtsSupervised() for name in names}, **behind}
        tasks = [Task(name, objective, mixture) for name, objective in objectives.items()]
        Trainer(tmp_path / "state", tmp_path, "few", models, parts, tasks, STEPS, 1, Run(1e9, 20, 1), runner).fit()
        for name in parts:
            params = id(getattr(models, name).graphs.params)
            shapes = calls[params, "recorded"]
            assert 3 <= shapes <= 8 and calls[params, "replayed"] >= STEPS - AFTER * shapes - 4, calls
            after = [p.raw for p in getattr(models, name).parameters()]
            assert any(not torch.equal(old, new) for old, new in zip(start[name], after, strict=True))
            assert all(p.isfinite().all() for p in after)


@pytest.mark.parametrize("name", ["asr", "tts"])
def test_without_recordings_shapes_are_few_too(name, paired, tmp_path):
    """Libraries of a GPU prepare for each new shape."""
    seen = {}
    for few in (False, True):
        model = recognizer() if name == "asr" else synthesizer(("s1",))
        if name == "asr":
            model.augment = Augment(speed=0.15, warp=0.08, gain=0.2, noise=0.1)
        if few:
            model.use_graphs(False)
        shapes = seen[few] = Counter()
        encoder = model.model.encoder if name == "asr" else model.tts.decoder
        encoder.register_forward_pre_hook(lambda _, given, shapes=shapes: shapes.update([given[0].shape]))
        mixture = Mixture({"paired": paired}, {"paired": 1.0}, 400, seed=1, even=few)
        task = Task(name, AsrSupervised() if name == "asr" else TtsSupervised(), mixture)
        job = Trainer(tmp_path / f"{few}", tmp_path, "few", Models(model, model), {name: (model, Optimizer(lr=1e-3))}, [task], STEPS, 1,
                      Run(1e9, 20, 1), make_fabric("cpu", "32"))  # fmt: skip
        job.fit()
        assert shapes.total() == STEPS
    assert len(seen[True]) <= 8 < 16 <= len(seen[False]), seen


def test_recordable_on_a_gpu_by_one_process_alone(monkeypatch, caplog):
    runner = make_fabric("cpu", "32")
    assert not recordable(runner)
    monkeypatch.setattr(Fabric, "device", property(lambda self: torch.device("cuda")))
    assert recordable(runner) and not caplog.text
    monkeypatch.setattr(Fabric, "world_size", property(lambda self: 2))
    assert not recordable(runner) and "2 ranks train step by step" in caplog.text
