"""A mistake in a recipe is heard of before anything runs."""

import pytest

from cycle.config import available, load
from cycle.errors import UserError
from cycle.objectives.recipe import objectives
from tests.command import quick

RECIPES = [recipe for recipe in available("conf/recipes") if not recipe.startswith("caption")]
MWER = "rounds.objectives.asr_mwer"


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("control", [None, "more_steps", "pseudo_only", "tts_only", "oracle"])
def test_every_recipe_and_control_is_built(recipe, control):
    assert objectives(load("mini", recipe, [], "cpu", control))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rounds.objectives.asr_supervised.mix.magic=1"], r"asr_supervised\.mix\.magic: no stream 'magic'"),
        ([f"{MWER}.use=cycle.objectives.sequence:Mver"], "names no objective"),
        ([f"{MWER}.args.best=4"], r"asr_mwer\.args\.best: Mwer takes no argument 'best'; choose among: reward"),
        ([f"{MWER}.args.nbest=1"], "a list needs two hypotheses"),
        ([f"{MWER}.mix={{paired: 0, recordings: 1}}"], "recordings have none"),
        ([f"{MWER}.mix={{paired: [1, 1, 0], recordings: 1}}", "rounds.count=3"], "recordings have none"),
        ([f"{MWER}.mix={{paired: 0, recordings: 1, text: 1}}"], "it has no use for 'text'"),
        (
            ["rounds.objectives.asr_supervised.mix={text: 1}"],
            r"asr_supervised\.mix: it has no use for 'text'; choose among: labelled, paired",
        ),
        (["rounds.objectives.asr_supervised.mix={paired: 1, recordings: [0, 1]}"], "it has no use for 'recordings'"),
        (["rounds.objectives.tts_supervised.mix={synthetic: 1}"], "it has no use for 'synthetic'; choose among: paired, pseudo"),
        ([f"{MWER}.use=pathlib:Path"], "is no objective"),
        ([f"{MWER}.args.level=foo"], r"asr_mwer\.args: level: "),
        ([f"{MWER}.args.reward={{error_rate: x}}"], r"asr_mwer: args of .*could not convert"),
        (
            [
                "rounds.objectives={asr_supervised: {mix: {paired: [1, 0]}}, tts_supervised: {weight: 0}, asr_mwer: {weight: 0}, "
                "asr_mwer_recordings: {weight: 0}}",
                "rounds.count=2",
            ],
            "nothing is trained in round 2",
        ),
        (["rounds.objectives.asr_mwer_recordings.mix={labelled: 0, speech: 1}"], "needs labels, and speech has none"),
        (["rounds.objectives.asr_mwer_recordings.mix={labelled: 1, paired: [0, 1]}"], "needs labels, and paired has none"),
    ],
)
def test_mistakes_are_named(words, said):
    with pytest.raises(UserError, match=said):
        objectives(load("mini", "mwer", words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["asr_dpo.args.reward={teacher: 1}"], "needs labels, and paired has none"),
        (["asr_dpo.mix={paired: 0, recordings: 1}"], "recordings have none"),
        (
            ["asr_dpo.mix={paired: 1, speech: [0, 1]}", "asr_dpo.args.nbest=3"],
            r"asr_dpo\.mix: speech have N-best lists, and paired have none",
        ),
        (["tts_dpo.mix={text: 1}", "tts_dpo.args.reward={speaker: 1}"], r"tts_dpo\.mix: it has no use for 'text'"),
    ],
)
def test_preferences_by_what_is_not_there(words, said):
    with pytest.raises(UserError, match=said):
        objectives(load("mini", "dpo", [f"rounds.objectives.{word}" for word in words]))


def test_what_needs_no_texts_may_have_none():
    """With error rates every recording would be skipped, and the recipe would be the supervised one by another name."""
    mix, reward = f"{MWER}.mix={{paired: 0, recordings: 1}}", f"{MWER}.args={{reward: {{error_rate: 0, round_trip: 1}}}}"
    assert "asr_mwer" in objectives(load("mini", "mwer", [mix, reward]))
    labels, teacher = f"{MWER}.mix={{paired: 0, labelled: 1}}", f"{MWER}.args={{reward: {{error_rate: 0, teacher: 1}}}}"
    assert "asr_mwer" in objectives(load("mini", "mwer", [labels, teacher]))
    late = f"{MWER}.mix={{paired: [1, 1, 0], recordings: 1}}"
    assert "asr_mwer" in objectives(load("mini", "mwer", [late, "rounds.count=2"]))  # the round without texts never comes


def test_what_has_no_weight_or_no_model_is_left_out():
    weightless = objectives(load("mini", "mwer", [f"{MWER}.weight=0", f"{MWER}.mix={{recordings: 1}}"]))
    assert set(weightless) == {"asr_supervised", "tts_supervised", "asr_mwer_recordings"}
    heard_only = objectives(load("mini", "mwer", ["models=[asr]"]))
    assert set(heard_only) == {"asr_supervised", "asr_mwer", "asr_mwer_recordings"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "mwer", "--", f"{MWER}.mix={{paired: 0, recordings: 1}}"], "recordings have none"),
        (["--", "rounds.select_labels=[{rule: magic}]"], "no selection rule 'magic'"),
        (["--", "rounds.select_synthetic=[{rule: heard, args: {least: 1}}]"], "takes no 'least'"),
    ],
)
def test_nothing_runs_before(tmp_path, words, said):
    done = quick("run", "--corpus", "mini", "--exp", tmp_path / "e", "--stop-stage", "1", *words)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"trains": frozenset({"ASR"})}, "`trains` a set of asr and tts"),
        ({"trains": frozenset()}, "`trains` a set of asr and tts"),
        ({"trains": {"asr"}, "streams": ["paired"]}, "its streams are no set"),
    ],
)
def test_objectives_of_ones_own(monkeypatch, fields, said):
    mine = type("Mine", (), {"__call__": lambda *_: None, **fields})
    monkeypatch.setattr("cycle.objectives.sequence.Mine", lambda **args: mine(), raising=False)
    with pytest.raises(UserError, match=said):
        objectives(load("mini", "mwer", [f"{MWER}.use=cycle.objectives.sequence:Mine", f"{MWER}.args={{}}"]))
