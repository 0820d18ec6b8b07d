"""What every recipe of egs/ keeps to."""

from __future__ import annotations

import pytest

from cycle import config, prepare
from cycle.data.text import spelling
from cycle.data.types import POOLS


@pytest.mark.parametrize("corpus", config.corpora())
def test_a_recipe_is_short_complete_and_documented(corpus):
    folder = config.ROOT / "egs" / corpus
    module = prepare.recipe(corpus)
    assert module.SPLITS
    assert callable(module.utterances)
    assert len((folder / "prepare.py").read_text(encoding="utf-8").splitlines()) <= 40
    readme = (folder / "README.md").read_text(encoding="utf-8").lower()
    assert all(word in readme for word in ("source", "licence", " h,", "--corpus" if corpus != "mini" else "./run.sh"))


@pytest.mark.parametrize("corpus", config.corpora())
@pytest.mark.parametrize("preset", config.available("conf/presets"))
def test_every_preset_of_every_corpus_loads(corpus, preset):
    loaded = config.load(corpus, "cycle", [f"preset={preset}"])
    assert spelling(loaded.corpus.language).rates
    unused = () if "tts" in loaded.models else ("speech", "text")  # nothing is exchanged
    assert {pool for pool in POOLS if getattr(loaded.pools, pool) == 0} == set(unused)
    if preset == "smoke":
        assert sum(getattr(loaded.pools, pool) for pool in POOLS) <= 400  # all of them told, none "everything"
