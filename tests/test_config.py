"""The door: layers, types, unknown keys, presets; and every YAML that ships is loaded."""

import os
from dataclasses import asdict

import pytest

from cycle.config import ROOT, available, corpora, flatten, load, overlaid, place_of
from cycle.errors import UserError
from cycle.objectives.recipe import objectives
from cycle.yaml_file import line_of, read_yaml


def test_base_yaml_holds_every_key():
    from omegaconf import OmegaConf

    from cycle.settings import Config

    base = read_yaml(ROOT / "conf/base.yaml")
    filled = OmegaConf.merge(OmegaConf.structured(Config), base)
    assert OmegaConf.missing_keys(filled) == set()
    assert set(flatten(OmegaConf.to_container(filled))) == set(flatten(base))


PRESETS, RECIPES, CONTROLS = (available(f"conf/{kind}") for kind in ("presets", "recipes", "controls"))


@pytest.mark.parametrize(("number", "corpus"), enumerate(corpora()))
def test_every_two_shipped_layers_fit(number, corpus):
    """And no recipe says what others take from it. Each recipe and each corpus meets every preset, not each other; in --all they do."""
    every = "CYCLE_TEST_ALL" in os.environ
    for n, recipe in enumerate(RECIPES):
        for preset in PRESETS if every else [PRESETS[(n + number) // 2 % len(PRESETS)]] if (n + number) % 2 else []:
            config = load(corpus, recipe, [f"preset={preset}"])
            assert config.preset == preset and config.pools.test != 0
            assert overlaid(config, recipe, []) == []
    for n, control in enumerate(CONTROLS):
        recipe = RECIPES[(len(CONTROLS) * number + n) % len(RECIPES)]
        assert load(corpus, recipe, [f"preset={PRESETS[n % len(PRESETS)]}"], "cpu", control)


def test_order_of_layers():
    assert load("hsk", "cycle", [], "cuda").pools.speech == 3000
    assert load("hsk", "cycle", [], "cpu").preset == "cpu"
    assert load("hsk", "cycle", ["preset=smoke"], "cuda").pools.paired < 100
    assert load("hsk", "cycle", ["preset=smoke", "pools.paired=77"]).pools.paired == 77
    assert (
        load("hsk", "cycle", ["seed=5", "rounds.objectives.tts_through_asr.weight=0.5"]).rounds.objectives["tts_through_asr"].weight == 0.5
    )


def test_controls_share_everything_but_the_data():
    main, control = (flatten(asdict(load("hsk", "cycle", [], "cpu", c))) for c in (None, "more_steps"))
    changed = {k for k in main if main[k] != control.get(k)}
    assert changed and all(k.startswith("rounds.objectives.") and (".mix." in k or k.endswith(".weight")) for k in changed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rounds.cuont=3"], r"rounds\.cuont"),
        (["seed=abc"], "seed"),
        (["rounds.count=many"], r"rounds\.count"),
        (["nonsense"], "not key=value"),
        (["preset=huge"], "no preset 'huge'.*choose one of: cpu"),
    ],
)
def test_mistakes_are_named(words, said):
    with pytest.raises(UserError, match=said):
        load("mini", "cycle", words)


def test_unknown_names_list_what_there_is():
    with pytest.raises(UserError, match=r"no corpus 'x'.*hsk"):
        load("x", "cycle", [])
    with pytest.raises(UserError, match=r"no recipe 'x'.*cycle"):
        load("mini", "x", [])


def test_yaml_faults_name_file_and_line(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\nb: [1,\n")
    with pytest.raises(UserError, match=r"a\.yaml:\d+: is not valid YAML"):
        read_yaml(file)
    file.write_text("a: {c: 1}\nb: 2\na: {d: 2}\n")
    with pytest.raises(UserError, match=r"a\.yaml:3: is not valid YAML \(key 'a' stands twice\)"):
        read_yaml(file)
    file.write_text("x: &x {a: 1}\ny: {<<: *x, b: 2}\nz: {a: 1}\n")
    assert read_yaml(file)["y"] == {"a": 1, "b": 2}
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        read_yaml(file)
    file.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(UserError):
        read_yaml(file)


def test_lines_of_keys(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("# a recipe\na:\n  b:\n    c: 1\n  d: {e: 2}\n")
    assert [line_of(file, key) for key in ("a", "a.b", "a.b.c", "a.d.e", "a.b.x.y", "x")] == [2, 3, 4, 5, None, None]


def test_a_recipes_mistakes_have_a_line(tmp_path, monkeypatch):
    recipes = ROOT / "conf/recipes"
    (tmp_path / "conf").mkdir()
    for folder in ("conf/presets", "conf/controls", "conf/base.yaml", "egs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "conf/recipes").mkdir()
    monkeypatch.setattr("cycle.config.ROOT", tmp_path)
    mine, text = tmp_path / "conf/recipes/mine.yaml", (recipes / "supervised.yaml").read_text()
    files = ["conf/recipes/mine.yaml"]
    mine.write_text(text)
    config, key = load("mini", "mine", ["rounds.objectives.tts_supervised.every=3"]), "rounds.objectives.asr_supervised"
    assert place_of(key, config, files) == f"conf/recipes/mine.yaml:4: {key}"
    assert place_of(f"{key}.mix", config, files) == f"conf/recipes/mine.yaml:4: {key}.mix"
    assert place_of(f"{key}.args", config, files) == f"{key}.args"  # not said there
    assert place_of("rounds.objectives.tts_supervised", config, files) == "rounds.objectives.tts_supervised"  # said otherwise behind --
    assert place_of("-- seed", config, files) == "-- seed"
    with pytest.raises(UserError, match="key 'nokey'"):
        load("mini", "mine", [f"nokey=[{','.join(map(str, range(200)))}]"])
    mine.write_text(text + "seed: ${foo}\n")
    with pytest.raises(UserError, match=r"seed: .*foo"):
        load("mini", "mine", [])
    mine.write_text(text + "  updates: many\n")
    with pytest.raises(UserError, match=rf"conf/recipes/mine\.yaml:{len(text.splitlines()) + 1}: key 'rounds\.updates'"):
        load("mini", "mine", [])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("rounds: {objectives: }", "conf.yaml"),
        ("rounds: {objectives: [a]}", "conf.yaml"),
        ("rounds: 3", "conf.yaml"),
        ("presets: [smoke]", "conf.yaml:1: presets.smoke holds no mapping"),
        ("presets: {smoke: 5}", "conf.yaml:1: presets.smoke holds no mapping"),
    ],
)
def test_a_corpus_that_says_something_else_than_it_may(tmp_path, monkeypatch, said, told):
    (tmp_path / "egs/mine").mkdir(parents=True)
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "egs/mine/prepare.py").touch()
    (tmp_path / "egs/mine/conf.yaml").write_text(f"{said}\n")
    monkeypatch.setattr("cycle.config.ROOT", tmp_path)
    with pytest.raises(UserError) as found:
        load("mine", "cycle", ["preset=smoke"])
    assert told in str(found.value)


def test_a_part_that_is_given_as_a_number():
    with pytest.raises(UserError, match=r"^-- pools=10: (?!key None)"):
        load("mini", "cycle", ["pools=10"])


def test_numbers_that_refer_to_others_have_limits_too():
    assert load("mini", "cycle", ["features.hop=${features.n_fft}"]).features.hop == 1024
    with pytest.raises(UserError, match=r"decode\.beam: -1"):
        load("mini", "cycle", ["decode.beam=${seed}", "seed=-1"])


def test_what_a_preset_takes_from_a_recipe_is_said_and_recipes_may_have_presets_too(tmp_path, monkeypatch):
    text = (ROOT / "conf/recipes/supervised.yaml").read_text()
    (tmp_path / "conf/recipes").mkdir(parents=True)
    for name in ("conf/presets", "conf/controls", "conf/base.yaml", "egs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr("cycle.config.ROOT", tmp_path)
    mine = tmp_path / "conf/recipes/mine.yaml"
    mine.write_text(text + "  updates: 7\n  count: 5\n  collapse_margin: 1.0\n")
    (lost, count), last = overlaid(load("mini", "mine", ["preset=smoke"]), "mine", []), len(text.splitlines()) + 1
    assert lost.startswith(f"conf/recipes/mine.yaml:{last}: rounds.updates: 7 gives way to 16, which the corpus or preset smoke says")
    assert "rounds.count: 5 gives way to 2" in count
    typed = ["preset=smoke", "rounds.updates=3", "rounds.count=1"]
    assert overlaid(load("mini", "mine", typed), "mine", typed) == []
    mine.write_text(text + "presets:\n  smoke: {rounds: {updates: 7}}\n")
    config = load("mini", "mine", ["preset=smoke"])
    assert config.rounds.updates == 7 and overlaid(config, "mine", []) == []
    assert load("mini", "mine", ["preset=cpu"]).rounds.updates == 240


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("prior.pools=[]", "prior.pools is empty; choose among: paired, text"),
        ("prior.pools=[speech]", "prior.pools: 'speech' is not open to the prior"),
        ("rounds.speak.speakers=[]", "rounds.speak.speakers is empty"),
        ("rounds.speak.speakers=[dev]", "'dev' has no speakers that training may use"),
        ("corpus.language=captions pools.dev=1", "pools.dev: 1; write 2 or more"),
    ],
)
def test_pools_that_are_not_open(word, said):
    with pytest.raises(UserError) as told:
        load("mini", "cycle", word.split())
    assert said in str(told.value)


def test_selection_rules_of_recipes_exist():
    from cycle.exchange.select import LABEL_RULES, SYNTHETIC_RULES

    for name in available("conf/recipes"):
        rounds = load("hsk", name, []).rounds
        assert {rule.rule for rule in rounds.select_labels} <= set(LABEL_RULES)
        assert {rule.rule for rule in rounds.select_synthetic} <= set(SYNTHETIC_RULES)


def test_a_corpus_speaks_of_objectives_that_the_recipe_has():
    """Else its batch sizes would make objectives of nothing."""
    sizes = {name: o.batch_frames for name, o in load("scenes", "caption_scst", ["preset=cpu"]).rounds.objectives.items()}
    assert sizes == {"asr_supervised": 3000, "asr_scst": 2000}
    assert set(load("mini", "caption", ["preset=cpu"]).rounds.objectives) == {"asr_supervised"}


def test_which_models_are_trained():
    assert load("mini", "caption", []).models == ["asr", "tts"] and load("scenes", "cycle", []).models == ["asr"]
    for wrong in ("models=[tts]", "models=[]", "models=[asr,lm]"):
        with pytest.raises(UserError, match="models: "):
            load("mini", "cycle", [wrong])
    objectives(load("mini", "cycle", []))
    for recipe in ("caption", "caption_scst", "caption_dpo", "scheduled_sampling"):
        objectives(load("scenes", recipe, []))
    for recipe, control in (("cycle", None), ("dpo", None), ("caption", "tts_only")):
        with pytest.raises(UserError, match="needs a synthesiser"):
            objectives(load("scenes", recipe, [], control=control))


def test_shares_of_a_mix_may_change_from_round_to_round():
    words = ["rounds.objectives.asr_supervised.mix={paired: 1, pseudo: [0, 0.5], synthetic: [2, 2, 0]}"]
    objective = load("hsk", "cycle", words).rounds.objectives["asr_supervised"]
    assert objective.shares(1) == {"paired": 1, "synthetic": 2}
    assert objective.shares(2) == {"paired": 1, "pseudo": 0.5, "synthetic": 2}
    assert objective.shares(3) == objective.shares(9) == {"paired": 1, "pseudo": 0.5}
    assert objective.streams() == {"paired", "pseudo", "synthetic"}
    objective.weight = 0.0
    assert objective.shares(1) == {} and objective.streams() == set()


@pytest.mark.parametrize("share", ["-1", "[]", "[1, -1]", "[1, [2]]", "many", "true", "null", "{a: 1}", ".inf", ".nan"])
def test_a_share_is_a_number_or_one_a_round(share):
    with pytest.raises(UserError, match=r"mix\.pseudo"):
        load("hsk", "cycle", [f"rounds.objectives.asr_supervised.mix.pseudo={share}"])
