"""What holds for every objective: it moves the models it says and no other, the same seed gives the same losses, recipes name it rightly.

The losses of ten steps each lie in trajectories.json. Where they are meant to change, write them anew:
`python -m tests.objectives.test_objectives`.
"""

import json
from pathlib import Path

import pytest
import torch

from cycle.config import ROOT, available, load
from cycle.objectives import preference, pseudo_label, scheduled_sampling, sequence, speech_chain, supervised
from cycle.objectives.base import create
from cycle.yaml_file import read_yaml
from tests.models.test_espnet import batch, synthesizer
from tests.objectives.tiny import descent, moved, pair, started, subset, tacotron, with_lists

TRAJECTORIES = Path(__file__).with_name("trajectories.json")
STEPS = 10
OBJECTIVES = {
    "asr_supervised": (supervised.AsrSupervised, {}, synthesizer),
    "tts_supervised": (supervised.TtsSupervised, {}, synthesizer),
    "asr_scheduled_sampling": (scheduled_sampling.AsrScheduledSampling, {"schedule": "inverse_sigmoid"}, synthesizer),
    "tts_scheduled_sampling": (scheduled_sampling.TtsScheduledSampling, {"k": 1.0}, tacotron),
    "pseudo_label": (pseudo_label.PseudoLabel, {"nbest": 3, "keep": [0.5, 1.0]}, synthesizer),
    "tts_through_asr": (speech_chain.TtsThroughAsr, {}, synthesizer),
    "tts_through_asr_attention": (speech_chain.TtsThroughAsr, {"by": "attention"}, synthesizer),
    "speaker_consistency": (speech_chain.SpeakerConsistency, {}, synthesizer),
    "asr_through_tts": (speech_chain.AsrThroughTts, {}, synthesizer),
    "asr_through_tts_gumbel": (speech_chain.AsrThroughTtsGumbel, {}, synthesizer),
    "asr_through_tts_reinforce": (speech_chain.AsrThroughTtsReinforce, {}, synthesizer),
    "scst": (sequence.Scst, {}, synthesizer),
    "scst_greedy": (sequence.Scst, {"baseline": "greedy"}, synthesizer),
    "scst_attention": (sequence.Scst, {"by": "attention", "reward": {"error_rate": 1.0, "text_prior": 0.1}}, synthesizer),
    "mwer": (sequence.Mwer, {}, synthesizer),
    "mwer_attention": (sequence.Mwer, {"by": "attention"}, synthesizer),
    "asr_dpo": (preference.AsrDpo, {}, synthesizer),
    "asr_self_play": (preference.AsrSelfPlay, {"by": "attention"}, synthesizer),
    "tts_dpo": (preference.TtsDpo, {"beta": 0.01, "reward": {"heard_logp": 1.0, "speaker": 1.0}}, synthesizer),
    "tts_self_play": (preference.TtsSelfPlay, {"beta": 0.01}, synthesizer),
}
NEED_LISTS = {"asr_through_tts"}


def trajectory(name: str) -> list[float]:
    kind, args, make = OBJECTIVES[name]
    objective = started(kind(**args), make)
    steps = 5 if make is tacotron else STEPS
    return [x["loss"] for x in descent(objective, pair(make), with_lists() if name in NEED_LISTS else batch(), steps, lr=1e-3)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_moves_exactly_the_models_it_says(name):
    kind, args, make = OBJECTIVES[name]
    objective, models = started(kind(**args), make), pair(make)
    assert moved(objective, models, with_lists() if name in NEED_LISTS else batch()) == set(objective.trains)
    assert all(p.requires_grad for m in (models.asr, models.tts) for p in m.model.parameters())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_seed_gives_the_same_losses(name):
    committed = torch.tensor(json.loads(TRAJECTORIES.read_text())[name])
    torch.testing.assert_close(torch.tensor(trajectory(name)), committed, atol=2e-3, rtol=2e-3)


DETERMINED = ("tts_through_asr", "speaker_consistency", "asr_through_tts", "mwer", "mwer_attention", "asr_dpo")


@pytest.mark.parametrize("name", DETERMINED)
def test_company_and_order_change_no_value(name):
    """A batch is worth the mean of its utterances, each alone and without padding, in whatever order."""
    kind, args, make = OBJECTIVES[name]
    objective, models, data = started(kind(**args), make), pair(make), with_lists()
    with torch.no_grad():  # away from the reference, or DPO would say ln 2 whatever it is given
        for p in models.asr.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    if name != "asr_through_tts":
        data.nbest = []
    whole = objective(data, models, 0)
    turned = objective(subset(data, [2, 0, 1]), models, 0)
    alone = [objective(subset(data, [i]), models, 0) for i in range(3)]
    weights = [a.weight * float(a.stats.get("fits", 1.0)) for a in alone]
    assert whole.weight * float(whole.stats.get("fits", 1.0)) == pytest.approx(sum(weights)) and sum(weights) > 0
    mean = sum(w * a.value.detach() for w, a in zip(weights, alone, strict=True)) / sum(weights)
    torch.testing.assert_close(turned.value.detach(), whole.value.detach(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(mean, whole.value.detach(), atol=1e-4, rtol=1e-3)


def test_every_objective_of_the_package_is_tested():
    tested = {kind for kind, _, _ in OBJECTIVES.values()}
    rooms = (preference, pseudo_label, scheduled_sampling, sequence, speech_chain, supervised)
    found = {v for room in rooms for v in vars(room).values() if isinstance(v, type) and hasattr(v, "trains")}
    gumbel_and_chain = {speech_chain.TtsThroughAsr, speech_chain.AsrThroughTtsGumbel}  # `trains` is theirs only once made
    assert found | gumbel_and_chain == tested


@pytest.mark.parametrize("recipe", available("conf/recipes"))
def test_recipes_name_objectives_with_arguments_that_fit(recipe):
    objectives = read_yaml(ROOT / f"conf/recipes/{recipe}.yaml")["rounds"]["objectives"]
    for name, conf in objectives.items():
        made = create(conf["use"], conf.get("args", {}), name)
        assert made.trains == {name.partition("_")[0]}  # asr_mwer moves the recogniser
    spoken = set() if recipe.startswith("caption") else {"tts_supervised"}
    assert {"asr_supervised"} | spoken <= set(objectives)  # controls and presets speak of these


@pytest.mark.parametrize("control", ["more_steps", "pseudo_only", "tts_only", "oracle"])
def test_a_control_is_the_same_for_every_recipe(control):
    """No objective of the recipe may linger in a control: what is left is the supervised pair on the control's streams."""
    every = {name: load("mini", name, ["preset=smoke"], "cpu", control).rounds.objectives for name in available("conf/recipes")}
    for recipe, ours in every.items():
        for name, conf in ours.items():
            if name in ("asr_supervised", "tts_supervised"):
                assert (conf.use, conf.weight) == (every["cycle"][name].use, 1.0), recipe
                assert all(conf.shares(number) == every["cycle"][name].shares(number) for number in (1, 2, 3)), recipe
            else:
                assert conf.weight == 0.0, recipe


if __name__ == "__main__":
    torch.set_num_threads(1)
    TRAJECTORIES.write_text(json.dumps({name: [round(v, 5) for v in trajectory(name)] for name in OBJECTIVES}, indent=0) + "\n")
