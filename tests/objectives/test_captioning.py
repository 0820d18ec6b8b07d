"""CIDEr-D as a reward: of the training references, item by item what the metric says; and a model without CTC under every objective."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cycle import rewards
from cycle.config import ROOT
from cycle.data.batch import Batch, speech_of
from cycle.errors import UserError
from cycle.eval.cider import CiderD
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.recognizer import Recognizer
from cycle.models.vocabulary import Vocabulary
from cycle.objectives.base import Models
from cycle.objectives.judging import TextJudge
from cycle.objectives.preference import AsrDpo, AsrSelfPlay
from cycle.objectives.scheduled_sampling import AsrScheduledSampling
from cycle.objectives.sequence import Mwer, Scst
from cycle.objectives.supervised import AsrSupervised
from cycle.settings import Search
from cycle.yaml_file import read_yaml

REFS = {
    "x": ["a dog barks", "the dog is barking"],
    "y": ["rain falls then a bell rings", "a bell rings after rain"],
    "z": ["a bell"],
}
TEXTS = [text for texts in REFS.values() for text in texts]


def captioner() -> EspnetRecognizer:
    torch.manual_seed(0)
    conf = read_yaml(ROOT / "conf/asr/captioner_tiny.yaml")
    model = EspnetRecognizer(Vocabulary.of(TEXTS), 16, conf)
    with torch.no_grad():
        model.model.decoder.output_layer.bias[0] -= 10.0  # a trained model never says blank
        model.model.decoder.output_layer.bias[model.model.eos] -= 1.0  # untrained, it would say little
    return model


def batch() -> Batch:
    rng = torch.Generator().manual_seed(3)
    feats = [torch.randn(n, 16, generator=rng).numpy() for n in (60, 80, 72)]
    return Batch(list(REFS), ["-"] * 3, [texts[0] for texts in REFS.values()], speech_of(feats))


def started(objective, model: EspnetRecognizer):
    if hasattr(objective, "begin"):
        frozen = captioner().eval().requires_grad_(False)
        frozen.load_state_dict(model.state_dict())
        objective.begin(SimpleNamespace(asr=frozen, references=REFS, models=frozenset({"asr"}), language="captions", updates=10))
    return objective


def test_the_reward_is_the_metric_item_by_item() -> None:
    judge = TextJudge({"cider": 1.0})
    judge.begin(SimpleNamespace(references=REFS, models=frozenset({"asr"}), language="captions"))
    lists = [["a dog barks", "rain"], ["a bell rings", ""], ["a bell", "a bell a bell"]]
    reward, valid = judge(batch(), lists, None)
    known = CiderD(REFS)
    expected = [[known([text], [clip])[0] for text in row] for clip, row in zip(REFS, lists, strict=True)]
    assert bool(valid.all())
    torch.testing.assert_close(reward, torch.tensor(expected), atol=1e-6, rtol=0)
    assert reward[0, 0] > reward[0, 1] and reward[1, 1] == 0


def test_a_clip_without_references_is_not_judged() -> None:
    assert rewards.cider(["a dog", "a dog"], ["x", "unknown"], CiderD(REFS))[1] is None


def test_what_cannot_be_a_reward_is_told() -> None:
    with pytest.raises(UserError, match="round_trip needs a synthesiser"):
        started(Scst({"round_trip": 1.0}), captioner())
    judge = TextJudge({"cider": 1.0})
    with pytest.raises(UserError, match="two clips"):
        judge.begin(SimpleNamespace(references={"x": ["a dog"]}, models=frozenset({"asr"}), language="captions"))


@pytest.mark.parametrize(
    "objective",
    [
        AsrSupervised(),
        Scst({"cider": 1.0}, samples=4, by="attention"),
        Scst({"cider": 1.0}, samples=4, baseline="greedy", by="attention"),
        Mwer({"cider": 1.0}, by="attention", search="attention"),
        AsrDpo({"cider": 1.0}, by="attention", search="attention"),
        AsrSelfPlay(by="attention"),
        AsrScheduledSampling(least=0.0, k=1.0),
    ],
    ids=lambda o: type(o).__name__,
)
def test_every_objective_moves_a_model_without_ctc(objective) -> None:
    model = captioner().train()
    started(objective, model)
    for seed in range(10):  # a draw may have nothing to learn from
        torch.manual_seed(seed)
        loss = objective(batch(), Models(model, None), 5)
        if loss.weight:
            break
    loss.value.backward()
    assert torch.isfinite(loss.value)
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_scst_raises_the_reward(baseline: str) -> None:
    """A sign that is wrong, or references of another clip, would lower it."""
    model = captioner()
    objective = started(Scst({"cider": 1.0}, samples=8, baseline=baseline, by="attention"), model)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    seen = []
    for step in range(40):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = objective(batch(), Models(model, None), step)
        if loss.weight:
            loss.value.backward()
            optimizer.step()
        seen.append(float(loss.stats["reward"]))
    assert sum(seen[-8:]) > 1.5 * sum(seen[:8]) > 0


def test_searches_of_a_model_without_ctc(tmp_path: Path) -> None:
    model: Recognizer = captioner().eval()
    speech = batch().speech
    greedy = [row[0].text for row in model.transcribe(speech, Search("attention", beam=1))]
    assert greedy == [row[0] for row in model.sample(speech, 1, 0.0, "attention")] and any(greedy)
    beam = model.transcribe(speech, Search("attention", beam=4, nbest=2))
    joint = model.transcribe(speech, Search("joint", beam=4, nbest=2, ctc_weight=0.0))
    assert beam == joint and all(len(row) == 2 and row[0].logp >= row[1].logp for row in beam)
    for search in (Search("ctc_beam"), Search("ctc_greedy"), Search("joint", ctc_weight=0.3)):
        with pytest.raises(UserError, match="there is no CTC branch"):
            model.transcribe(speech, search)
    with pytest.raises(UserError, match="by: attention"):
        model.sample(speech, 1, 1.0, "ctc")


def test_stock_espnet_finds_the_same(tmp_path: Path) -> None:
    from espnet2.bin.asr_inference import Speech2Text

    model = captioner().eval()
    model.save(tmp_path / "asr")
    mels = [batch().speech.feats[i, : int(n)].numpy() for i, n in enumerate(batch().speech.lengths)]
    for beam in (1, 4):
        stock = Speech2Text(tmp_path / "asr/config.yaml", tmp_path / "asr/model.pth", beam_size=beam, ctc_weight=0.0, lm_weight=0.0)
        ours = [model.transcribe(speech_of([mel]), Search("attention", beam=beam))[0][0].text for mel in mels]
        assert ours == [" ".join(stock(mel)[0][1]) for mel in mels]
