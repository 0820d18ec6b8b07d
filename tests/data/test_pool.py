from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycle.data import pool
from cycle.data.pool import Item
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError


def item(key: str, tokens: str) -> Item:
    return Item(Utterance(key, "spk", Path(f"/{key}.wav"), tokens, 1.0), tokens)


def corpus(n: int = 300) -> list[Item]:
    """Every fifth text has a homophone of its own."""
    return [item(f"u{k:04d}", f"a{k - (k % 5 == 1)}") for k in range(n)]


def texts(n: int = 400) -> list[Item]:
    return [Item(Utterance(f"t{k}", "-", None, f"a{k}"), f"a{k}") for k in range(n)]


SIZES = {"paired": 50, "speech": 100, "text": 60, "dev": 20, "test": 40}


def said(pools, name):
    return {i.tokens for i in pools[name]}


def ids(pools, name):
    return {i.utt.utt_id for i in pools[name]}


def assert_no_leak(pools):
    for held_out in ("test", "dev"):
        for other in set(POOLS) - {held_out}:
            assert not said(pools, held_out) & said(pools, other), (held_out, other)
    assert not said(pools, "speech") & said(pools, "text")


def test_sizes_and_leaks():
    doubled = [text for text in texts() for _ in range(2)]
    pools = pool.assign({"all": corpus(), "text": doubled}, SIZES)
    assert {name: len(items) for name, items in pools.items()} == SIZES
    assert_no_leak(pools)
    assert not said(pools, "paired") & said(pools, "speech")
    assert all(i.utt.wav is None and i.utt.spk == "-" and i.utt.seconds is None for i in pools["text"])
    assert len(said(pools, "text")) == SIZES["text"]


def test_more_pairs_contain_the_fewer_and_move_nothing_else():
    fewer, more = (pool.assign({"all": corpus(), "text": texts()}, {**SIZES, "paired": n}) for n in (25, 110))
    assert ids(fewer, "paired") < ids(more, "paired")
    for name in ("test", "dev", "speech", "text"):
        assert ids(fewer, name) == ids(more, name)


def test_more_speech_moves_no_other_recording():
    fewer, more = (pool.assign({"all": corpus(), "text": texts()}, {**SIZES, "speech": n}) for n in (30, 120))
    assert ids(fewer, "speech") < ids(more, "speech")
    for name in ("test", "dev", "paired"):
        assert ids(fewer, name) == ids(more, name)


def test_the_split_hangs_on_the_text_alone():
    here = pool.assign({"all": corpus(), "text": texts()}, SIZES)
    there = pool.assign({"all": [item(f"x{i.utt.utt_id}", i.tokens) for i in reversed(corpus())], "text": texts()}, SIZES)
    for name in POOLS:
        assert said(here, name) == said(there, name)


def test_ranks_never_change():
    """Published numbers hang on this split."""
    assert pool.rank("zh ong1 g uo2").startswith("5b3cb8d03e3d6ec8")


def test_texts_come_in_the_order_of_preference_and_no_more_are_drawn():
    drawn = []

    def candidates():
        for candidate in texts():
            drawn.append(candidate)
            yield candidate

    pools = pool.assign({"all": corpus(), "text": candidates()}, {**SIZES, "text": 5})
    taken = said(pools, "test") | said(pools, "dev") | said(pools, "speech")
    assert [i.tokens for i in pools["text"]] == [i.tokens for i in texts() if i.tokens not in taken][:5]
    assert drawn[-1].tokens == pools["text"][-1].tokens


def test_without_a_text_split_the_leftover_transcripts_serve():
    pools = pool.assign({"all": corpus()}, SIZES)
    assert_no_leak(pools)
    assert len(said(pools, "text")) == SIZES["text"]
    assert not ids(pools, "text") & ids(pools, "paired")


def test_official_splits_stay_and_training_gives_the_rest():
    train, test, dev = corpus()[:250], [item("test1", "a3"), item("test2", "b")], [item("dev1", "a4"), item("dev2", "b"), item("dev3", "c")]
    pools = pool.assign({"train": train, "test": test, "dev": dev}, {**SIZES, "test": 2, "dev": 2})
    assert said(pools, "test") == {"a3", "b"}
    assert said(pools, "dev") == {"a4", "c"}  # b is in test
    assert_no_leak(pools)


def test_five_official_pools():
    own = {"paired": corpus()[:60], "speech": corpus()[60:170], "dev": corpus()[170:200], "test": corpus()[200:250], "text": texts()}
    pools = pool.assign(own, {**SIZES, "paired": 40})
    assert {name: len(items) for name, items in pools.items()} == {**SIZES, "paired": 40}
    assert ids(pools, "paired") <= {i.utt.utt_id for i in own["paired"]}
    assert_no_leak(pools)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({name: st.lists(st.integers(0, 40), min_size=3, max_size=20) for name in POOLS}))
def test_official_splits_that_overlap_do_not_leak(spoken):
    own = {name: [item(f"{name}{k}", f"a{text}") for k, text in enumerate(texts)] for name, texts in spoken.items()}
    try:
        pools = pool.assign(own, dict.fromkeys(POOLS, 2))
    except UserError:
        return
    assert_no_leak(pools)


def test_what_test_says_leaves_the_official_dev_set():
    with pytest.raises(UserError, match="dev 1 of 2"):
        pool.assign({"all": corpus(), "test": [item("t", "b")], "dev": [item("d1", "b"), item("d2", "c")]}, {**SIZES, "test": 1, "dev": 2})


def test_too_little_data_names_the_numbers():
    with pytest.raises(UserError, match=r"speech 39 of 100.*pools\.NAME=N"):
        pool.assign({"all": corpus(150), "text": texts()}, SIZES)
    with pytest.raises(UserError, match=r"text 0 of 60"):
        pool.assign({"all": corpus(), "text": []}, SIZES)


def test_pools_may_be_empty():
    assert pool.assign({"all": corpus(), "text": texts()}, {**SIZES, "text": 0, "speech": 0})["speech"] == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=20, max_size=80),
    st.lists(st.integers(0, 60), max_size=40),
    st.fixed_dictionaries({name: st.integers(0, 6) for name in POOLS}),
)
def test_never_a_leak_and_never_one_recording_twice(spoken, written, sizes):
    recordings = [item(f"u{k}", f"a{text}") for k, text in enumerate(spoken)]
    candidates = [Item(Utterance(f"t{k}", "-", None, f"a{text}"), f"a{text}") for k, text in enumerate(written)]
    try:
        pools = pool.assign({"all": recordings, "text": candidates}, sizes)
    except UserError:
        return
    assert {name: len(items) for name, items in pools.items()} == sizes
    assert_no_leak(pools)
    assert not said(pools, "paired") & said(pools, "speech")
    assert len(said(pools, "text")) == sizes["text"]
    used = Counter(i.utt.utt_id for name in POOLS for i in pools[name])
    assert all(count == 1 for count in used.values())


def test_published_sets_stand_and_only_the_text_pool_leaves_them_alone():
    train, test, dev = corpus()[:250], [item("test1", "a3"), item("test2", "b")], [item("dev1", "a4"), item("dev2", "b"), item("dev3", "c")]
    sizes = {**SIZES, "test": None, "dev": None, "speech": None, "text": 9}
    pools = pool.assign({"train": train, "test": test, "dev": dev, "text": texts()}, sizes, official=("test", "dev"))
    assert (said(pools, "test"), said(pools, "dev")) == ({"a3", "b"}, {"a4", "b", "c"})
    assert ids(pools, "paired") | ids(pools, "speech") == {i.utt.utt_id for i in train}
    assert said(pools, "paired") | said(pools, "speech") >= {"a3", "a4"}
    assert not said(pools, "text") & {"a3", "a4"}
    everything = pool.shared(pools, ["test", "dev"])
    assert ("test", "test1", "text and speaker") in everything and ("test", "test2", "speaker") in everything and len(everything) == 5


def test_all_texts_of_an_utterance_are_kept_apart():
    """Captions: of three texts each, every text but the first is shared with a neighbour."""
    clips = [Item(Utterance(f"u{k:03d}", "spk", Path(f"/{k}.wav"), "a"), f"a{k}", (f"b{k // 2}", f"c{(k + 1) // 2}")) for k in range(300)]
    texts = [item(f"t{k}", f"b{k}") for k in range(150)]
    pools = pool.assign({"all": clips, "text": texts}, {**SIZES, "paired": 30, "speech": 60, "text": 20})
    everything = {name: {text for i in items for text in (i.tokens, *i.others)} for name, items in pools.items()}
    for secret in ("test", "dev"):
        assert all(not everything[secret] & everything[other] for other in set(POOLS) - {secret})
    assert not everything["speech"] & everything["text"]
    published = {"train": clips[:199], "test": clips[199:210], "dev": clips[299:]}
    pools = pool.assign(published, {"paired": None, "speech": 0, "text": 0, "dev": None, "test": None}, official=("test", "dev"))
    found = {key: kinds for _, key, kinds in pool.shared(pools, ["test"])}
    assert found["u199"] == "text and speaker" and found["u200"] == "speaker"  # b99 is u198's as well


def test_what_is_drawn_for_dev_is_not_said_in_a_published_test_set():
    test = [item(f"test{k}", f"a{k}") for k in range(0, 300, 2)]
    pools = pool.assign({"train": corpus(), "test": test}, {**SIZES, "test": None, "text": 40}, official=("test",))
    assert not said(pools, "dev") & said(pools, "test")
    assert said(pools, "paired") & said(pools, "test")
    assert not said(pools, "text") & (said(pools, "test") | said(pools, "dev") | said(pools, "speech"))
    assert len(pools["text"]) == 40


def test_none_takes_the_rest():
    pools = pool.assign({"all": corpus()}, {**SIZES, "text": None})
    assert len(said(pools, "text")) == len(pools["text"]) > SIZES["text"]
    with pytest.raises(UserError, match="text 0 of 1"):
        pool.assign({"all": corpus()}, {**SIZES, "speech": None, "text": None})


def test_a_part_of_a_corpus_is_shared_out_in_proportion():
    sizes = {"paired": 12000, "speech": 60000, "text": 40000, "dev": None, "test": 500}
    splits = {"train": corpus(), "dev": [item("d", "b")], "test": [item("t", "c"), item("t2", "d")]}
    pools = pool.assign(splits, sizes, official=("dev", "test"), sample=True)
    assert [len(pools[name]) for name in ("paired", "speech", "dev", "test")] == [100, 100, 1, 2]
    assert len(pools["text"]) > 60
    with pytest.raises(UserError, match="speech 0 of 60000"):
        pool.assign(splits, sizes)
    assert pool.scaled({"paired": 9, "speech": None, "text": 0}, 18) == {"paired": 6, "speech": 12, "text": 0}
    assert pool.scaled({"paired": 4, "speech": 5}, 9) == {"paired": 4, "speech": 5}


def test_speakers_are_shared_out_by_name_alone():
    given = pool.by_speaker(["b", "a", "c", "d", "a", "e"], {"dev": 0.01, "paired": 0.4}, "speech")
    assert Counter(given.values()) == {"dev": 1, "paired": 2, "speech": 2}
    assert given == pool.by_speaker(list("edcba"), {"dev": 0.01, "paired": 0.4}, "speech")


def test_recordings_without_text_go_to_speech_one_by_one():
    unknown = [Item(Utterance(f"x{k}", "-", Path(f"/x{k}.wav"), None, 1.0), "") for k in range(50)]
    pools = pool.assign({"all": corpus(), "speech": [*unknown, *corpus()[:20]], "text": texts()}, {**SIZES, "speech": 40})
    hidden = [i for i in pools["speech"] if not i.tokens]
    assert len(pools["speech"]) == 40 and 20 < len(hidden) < 40
    assert len(pools["text"]) == SIZES["text"]
