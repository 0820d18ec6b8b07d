"""The hooks of the trainer and of a round: what an objective remembers survives a kill, nothing to learn from means no step, and the
origin is the round's first weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cycle.config import load
from cycle.data.batch import Loss
from cycle.device import fabric
from cycle.experiment import Experiment
from cycle.files import write_json
from cycle.models.checkpoint import save
from cycle.models.frame_ctc import FrameCTC
from cycle.models.ngram import NGram
from cycle.models.vocabulary import Vocabulary
from cycle.objectives.base import Origin, begin, nothing
from cycle.settings import FrameModel, Optimizer, Run
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture
from tests.models.test_espnet import SPKS, TEXTS, recognizer, synthesizer
from tests.train.test_streams import stream


class Remembering:
    """Pulls a weight towards the running sum of what it has seen; the sum is its memory."""

    trains = frozenset({"model"})

    def __init__(self, die_at=None, idle=()):
        self.total, self.die_at, self.idle = 0.0, die_at, idle

    def state(self):
        return {"total": self.total}

    def load(self, state):
        self.total = state["total"]

    def __call__(self, batch, models, step):
        if step == self.die_at:
            raise KeyboardInterrupt
        if step in self.idle:
            return nothing(models.weight.device, {"idle": 1.0})
        self.total += sum(map(len, batch.texts)) / 100
        loss = (models.weight - self.total).square().sum()
        return Loss(loss, len(batch.texts), {"loss": loss.detach()})


def trainer(folder, objective):
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    task = Task("t", objective, Mixture({"a": stream("a", 40)}, {"a": 1.0}, 300, 1))
    return model, Trainer(folder / "state", folder, "phase", model, {"model": (model, Optimizer(lr=1e-1))}, [task], 30, 1,
                          Run(checkpoint_seconds=0.0, log_every=5, workers=0), fabric("cpu", "32"))  # fmt: skip


@pytest.mark.parametrize("die_at", [1, 13, 29])
def test_memory_survives_a_kill(tmp_path, die_at):
    whole, straight = trainer(tmp_path / "a", Remembering())
    straight.fit()
    _, first = trainer(tmp_path / "b", Remembering(die_at=die_at))
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    objective = Remembering()
    resumed, second = trainer(tmp_path / "b", objective)
    second.fit()
    assert objective.total > 0 and torch.equal(whole.weight, resumed.weight)


def test_nothing_to_learn_from_moves_nothing(tmp_path):
    model, job = trainer(tmp_path, Remembering(idle=range(30)))
    before = model.weight.clone()
    job.fit()
    assert torch.equal(model.weight, before)


def test_begin_tells_those_who_ask():
    class Asks(Remembering):
        def begin(self, origin):
            self.origin = origin

    asks = Asks()
    begin([Remembering(), asks], "origin")
    assert asks.origin == "origin"


def test_the_origin_is_the_folder_frozen(tmp_path):
    config = replace(load("mini", "cycle", []), aligner=FrameModel(8, 2, 0, 0.3, 1, 1, 1e-3, 100))
    exp = Experiment(tmp_path, config, "mini", "cycle")
    asr, tts, vocabulary = recognizer(), synthesizer(), Vocabulary.of(TEXTS)
    asr.save(tmp_path / "round_00/asr")
    tts.save(tmp_path / "round_00/tts")
    save(exp.aligner, FrameCTC(vocabulary, 80, config.aligner), {})
    vocabulary.write(exp.tokens / "tokens.txt")
    write_json(exp.tokens / "stats.json", {"f0": [5.0, 0.3], "energy": [0.0, 1.0]})
    exp.voices.mkdir()
    np.save(exp.voices / "speakers.npy", np.array(["s1", "s2"]))
    np.save(exp.voices / "vectors.npy", np.eye(2, dtype=np.float16))
    NGram.fit([t.split() for t in TEXTS], order=2).save(exp.tokens / "prior.json")
    origin = Origin(exp, exp.round(0), torch.device("cpu"))
    assert origin.asr is origin.asr and not origin.asr.training and origin.updates == config.rounds.updates and origin.language == "cmn"
    for mine, saved in ((origin.asr, asr), (origin.tts, tts)):
        assert not any(p.requires_grad for p in mine.parameters())
        assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), saved.state_dict().values(), strict=True))
    assert not any(p.requires_grad for p in origin.aligner.parameters()) and origin.prior.logp(["a"]) < 0
    assert origin.tts.synthesize(TEXTS, SPKS).speech.lengths.shape == (3,)
