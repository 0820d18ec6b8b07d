"""Training in batches of few shapes, recorded and replayed, on a pretended GPU."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from cycle.data.batch import Loss
from cycle.data.features import FeatureStore, ShardWriter
from cycle.device import fabric as make_fabric
from cycle.exchange.pools import recorded
from cycle.fabric import Fabric
from cycle.models.graphs import Graphs, Recording, recordable
from cycle.objectives.base import Models
from cycle.objectives.speech_chain import AsrThroughTts, TtsThroughAsr
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.settings import Augment, Optimizer, Run
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture
from tests.models.test_espnet import recognizer, synthesizer
from tests.pretend_device import DEVICE, device
from tests.pretend_graphs import Tape
from tests.pretend_graphs import graphs as recording

STEPS, RECORDED = 60, 16


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


class Idle:
    """Computes something with the recogniser and has nothing to learn from it."""

    trains = frozenset({"asr"})

    def __call__(self, batch, models, step):
        return Loss(models.asr.loss(batch, own_inputs=0.5).value, 0, {})


CYCLE = {"asr": AsrSupervised(), "tts": TtsSupervised(), "through_asr": TtsThroughAsr(), "through_tts": AsrThroughTts()}
BOTH = {"asr": AsrSupervised(), "through_asr": TtsThroughAsr(("tts", "asr"))}
RUNS = (
    pytest.param({"asr": AsrSupervised()}, {"asr losses": 10}, marks=pytest.mark.all),
    # which leaves gradients that the recorded ones are added to
    pytest.param({"idle": Idle(), "asr": AsrSupervised()}, {"asr losses": 0}, marks=pytest.mark.all),
    (CYCLE, {"asr losses": 10, "tts losses": 10, "tts plan": 10, "tts sound": 8, "asr logp": 16}),
    pytest.param(BOTH, {"asr losses": 10, "tts plan": 10, "tts sound": 8, "asr logp": 8}, marks=pytest.mark.all),
)


def trained(objectives, paired, folder, on, monkeypatch):
    """Trains small models on the pretended device.

    Returns:
        losses now and then; how often each network was replayed.
    """
    monkeypatch.setattr(Fabric, "device", property(lambda self: DEVICE))
    runner = make_fabric("cpu", "32")
    short = paired.subset(np.flatnonzero(paired.frames <= 40))  # a pretended replay takes its time
    mixture = Mixture({"paired": short}, {"paired": 1.0}, 400, seed=1, even=True)
    replays = Counter()
    torch.manual_seed(1)
    with device(own_noise=True) as seen, recording(seen):
        models = Models(recognizer().to(DEVICE), synthesizer(("s1",)).to(DEVICE))
        models.asr.augment = Augment(speed=0.15, warp=0.08, gain=0.2, noise=0.1)
        parts = {name: (getattr(models, name), Optimizer(lr=1e-3)) for name in ("asr", "tts")}
        for model, _ in parts.values():
            model.use_graphs(on)
        names = {graphs: f"{part} {name}" for part, (model, _) in parts.items() for name, graphs in model.graphs.items()}
        theirs = {id(p) for model, _ in parts.values() for p in model.parameters()}

        class Watched(Recording):
            def __init__(self, run, params, *given):
                assert not theirs & set(map(id, params))  # the nodes of those may be alive, and belong to another stream
                super().__init__(run, params, *given)
                assert self.whole == bool(params)  # handed to the trainer in one piece

        def replay(graphs, model, *inputs, **given):
            played, out = Tape.replays, called(graphs, model, *inputs, **given)
            replays[names[graphs]] += Tape.replays > played
            return out

        called = Graphs.__call__
        with monkeypatch.context() as patch:
            patch.setattr("cycle.models.graphs.Recording", Watched)
            patch.setattr(Graphs, "__call__", replay)
            tasks = [Task(name, objective, mixture) for name, objective in objectives.items()]
            Trainer(folder / "state", folder, "few", models, parts, tasks, RECORDED, 1, Run(1e9, 4, 1), runner).fit()
        assert theirs == {id(p) for model, _ in parts.values() for p in model.parameters()}
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name.endswith("/loss")} for line in lines], replays


@pytest.mark.parametrize(("objectives", "least"), RUNS)
def test_most_steps_are_replayed(objectives, least, paired, tmp_path, monkeypatch):
    """And lead to where steps that are not replayed lead."""
    paired.nbest = [[(text, 0.5), ("a b", 0.7)] for text in paired.texts]
    ours, replays = trained(objectives, paired, tmp_path / "a", True, monkeypatch)
    theirs, none = trained(objectives, paired, tmp_path / "b", False, monkeypatch)
    assert none.total() == 0 and all(replays[name] >= count for name, count in least.items()), replays
    assert len(ours) == RECORDED // 4 and set(ours[-1]) == {f"{name}/loss" for name in objectives}
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-3)
    assert ours[-1] != pytest.approx(ours[0], rel=1e-2)


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
    caplog.set_level("INFO", "cycle")
    runner = make_fabric("cpu", "32")
    assert not recordable(runner)
    monkeypatch.setattr(Fabric, "device", property(lambda self: torch.device("cuda")))
    assert recordable(runner) and not caplog.text
    monkeypatch.setattr(Fabric, "world_size", property(lambda self: 2))
    assert not recordable(runner) and "2 ranks train step by step" in caplog.text
