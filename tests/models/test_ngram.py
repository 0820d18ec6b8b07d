"""The text-side prior: proper, equal to a slow reference, quick enough."""

from __future__ import annotations

import itertools
import math
import pickle
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cycle.models.ngram import END, FALLBACK, UNK, NGram, _discounts


def some_sentences(n: int, vocabulary: str = "abcdefg", seed: int = 0) -> list[list[str]]:
    rng = random.Random(seed)
    weights = [2.0**-i for i in range(len(vocabulary))]
    return [rng.choices(vocabulary, weights, k=rng.randint(0, 6)) for _ in range(n)]


def reference(sentences: list[list[str]], order: int, word: str, history: tuple[str, ...]) -> float:
    """Chen & Goodman read aloud: no ids, no caches, every count looked up in the sentences."""
    lines = [("<s>", *sentence, END) for sentence in sentences]
    units = [*sorted({token for sentence in sentences for token in sentence}), UNK, END]
    every = [[line[i : i + n] for line in lines for i in range(len(line) - n + 1)] for n in range(order + 1)]

    def adjusted(gram: tuple[str, ...]) -> int:
        if len(gram) == order or gram[0] == "<s>":
            return every[len(gram)].count(gram)
        return len({longer for longer in every[len(gram) + 1] if longer[1:] == gram})

    value = 1 / len(units)
    for n in range(1, order + 1):
        context = history[len(history) - n + 1 :]
        if len(context) < n - 1:
            break
        grams = {gram for gram in every[n] if gram != ("<s>",)}
        d = (0.0, *_discounts(adjusted(gram) for gram in grams))
        seen = {gram[-1]: adjusted(gram) for gram in grams if gram[:-1] == context}
        if not seen:
            break
        mass = sum(d[min(c, 3)] for c in seen.values())
        c = seen.get(word, 0)
        value = (c - d[min(c, 3)] + mass * value) / sum(seen.values())
    return value


def next_logps(model: NGram, before: Sequence[str]) -> np.ndarray:
    """Of every unit behind the first tokens of a sentence."""
    state = model._first
    for token in before:
        state = model._step(state, model._ids.get(token, model._unk))[1]
    return np.array([model._step(state, unit)[0] for unit in range(len(model.units))])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_a_slow_reference(order: int) -> None:
    sentences = some_sentences(60)
    model = NGram.fit(sentences, order)
    for history in [(), ("a",), ("b", "a"), ("a", "a", "a"), ("g", "f", "e", "d"), ("a", "c", "b", "a", "b")]:
        row = np.exp(next_logps(model, history))
        expected = [reference(sentences, order, unit, ("<s>", *history)) for unit in model.units]
        np.testing.assert_allclose(row, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "sentences", [some_sentences(300), some_sentences(2), [["a", "b"]] * 50, [[]]], ids=["many", "two", "one", "empty"]
)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_sums_to_one_after_any_history(sentences: list[list[str]], order: int) -> None:
    model = NGram.fit(sentences, order)
    for length in range(4):
        for history in itertools.product("abcx", repeat=length):  # x was never seen
            row = np.exp(next_logps(model, history))
            assert row.min() > 0
            assert row.sum() == pytest.approx(1, abs=1e-12)


def test_worked_by_hand() -> None:
    """Two sentences "a b" and "a": with one kind of count missing, the discounts are 0.5, 1, 1.5.

    Unigrams by distinct predecessors: a 1 (<s>), b 1 (a), end 2 (b, a); total 4, discounted by 0.5 + 0.5 + 1 = 2; four units.
    P(b) = (1 - 0.5)/4 + 2/4 * 1/4 = 0.25 and P(a) likewise, P(end) = (2 - 1)/4 + 1/8 = 0.375.
    After a: b 1, end 1, total 2, discounted by 1. P(b|a) = 0.5/2 + 1/2 * 0.25 = 0.375, P(end|a) = 0.25 + 0.1875 = 0.4375.
    After <s>: a 2 of 2, discounted by 1: P(a|<s>) = 1/2 + 1/2 * 0.25 = 0.625. After b: end 1, discounted by 0.5.
    """
    model = NGram.fit([["a", "b"], ["a"]], order=2)
    assert model.logp(["a"]) == pytest.approx(math.log(0.625 * 0.4375))
    assert model.logp(["a", "b"]) == pytest.approx(math.log(0.625 * 0.375 * (0.5 + 0.5 * 0.375)))


def test_discounts_worked_by_hand() -> None:
    """n = 8, 4, 2, 1: Y = 8/16; D1 = 1 - 2/2*4/8, D2 = 2 - 3/2*2/4, D3 = 3 - 4/2*1/2."""
    counts = [1] * 8 + [2] * 4 + [3] * 2 + [4] + [9]
    assert _discounts(counts) == pytest.approx((0.5, 1.25, 2.0))
    assert _discounts([2, 2, 3, 7]) == FALLBACK  # nothing was seen once
    assert _discounts([1] + [2] * 2 + [3] * 50) == FALLBACK  # would be negative


def test_sentences_sum_to_one() -> None:
    """All strings of a tiny alphabet: what is missing below length n is the chance to be longer."""
    model = NGram.fit([["a"], ["a", "a"], ["b", "a"], []], order=3)
    masses = [sum(math.exp(model.logp(s)) for s in itertools.product(("a", "b", UNK), repeat=n)) for n in range(9)]
    assert sum(masses) <= 1 + 1e-12
    assert sum(masses) == pytest.approx(1, abs=5e-3)


def test_logp_is_the_sum_of_its_steps() -> None:
    model = NGram.fit(some_sentences(100), order=3)
    for sentence in [[], ["a"], ["c", "a", "zzz", "b"], list("gfedcba")]:
        steps = [(sentence[:i], unit) for i, unit in enumerate([*sentence, END])]
        rows = [next_logps(model, before)[model.units.index(unit if unit in model.units else UNK)] for before, unit in steps]
        assert model.logp(sentence) == pytest.approx(sum(rows))


def test_many_sentences_are_scored_as_each_alone() -> None:
    """Of different lengths, some twice, some empty, some with tokens that nobody knows."""
    held_out = [*some_sentences(50, seed=1), [], ["zzz"], ["a", "zzz"], *some_sentences(50, seed=1), []]
    together, alone = (NGram.fit(some_sentences(100), order=3) for _ in range(2))  # either looks its steps up itself
    assert together.logps(iter(held_out)).tolist() == [alone.logp(sentence) for sentence in held_out]
    assert together.logps([]).shape == (0,)


def test_vocabulary_is_fixed_and_unknown_tokens_are_one() -> None:
    model = NGram.fit([["a", "b"], ["a", "q"]], order=2, vocabulary=["b", "a", "c"])
    assert model.units == ["a", "b", "c", UNK, END]
    assert model.logp(["a", "q"]) == model.logp(["a", "never seen"]) > model.logp(["a", "c"])


def test_frequent_beats_rare_and_text_helps() -> None:
    sentences = some_sentences(2000)
    model, short = NGram.fit(sentences, order=4), NGram.fit(sentences[:20], order=4)
    held_out = some_sentences(500, seed=1)
    assert model.logp(["a"]) > model.logp(["g"])
    assert model.logps(held_out).sum() > short.logps(held_out).sum()


def test_save_and_load_give_the_same_numbers(tmp_path: Path) -> None:
    sentences = [["sh", "i4", "七"], ["b", "a1"], ["sh", "i4"]]
    model = NGram.fit(sentences, order=3)
    model.save(tmp_path / "sub" / "prior.json")
    loaded = NGram.load(tmp_path / "sub" / "prior.json")
    assert loaded.units == model.units and loaded.order == 3
    assert [loaded.logp(s) for s in [*sentences, ["x"]]] == [model.logp(s) for s in [*sentences, ["x"]]]
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["prior.json"]


def test_travels_to_workers() -> None:
    model = NGram.fit(some_sentences(20), order=3)
    assert pickle.loads(pickle.dumps(model)).logp(["a", "b"]) == model.logp(["a", "b"])


def test_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="sentence"):
        NGram.fit([])
    with pytest.raises(ValueError, match="order"):
        NGram.fit([["a"]], order=0)


def test_is_quick() -> None:
    """20,000 words to fit and 24,000 hypotheses to rank: seconds, with room for a slow machine."""
    rng = random.Random(0)
    vocabulary = [f"t{i}" for i in range(200)]
    words = [rng.choices(vocabulary, k=6) for _ in range(20000)]
    started = time.perf_counter()
    model = NGram.fit(words, order=4)
    fitted = time.perf_counter()
    model.logps(rng.choices(words, k=3000) * 8)
    assert fitted - started < 10
    assert time.perf_counter() - fitted < 5


def test_counts_are_kept_once() -> None:
    """Repeating a sentence weighs it in the highest order only: lower orders count what precedes."""
    once, often = NGram.fit([["a", "b"], ["c", "b"]], order=2), NGram.fit([["a", "b"]] * 9 + [["c", "b"]], order=2)
    assert Counter(once.units) == Counter(often.units)
    row_once, row_often = (next_logps(model, ["never seen"]) for model in (once, often))
    np.testing.assert_array_equal(row_once, row_often)


def test_is_read_once_as_long_as_the_file_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "prior.json"
    NGram.fit([["a"], ["b"]]).save(path)
    first = NGram.load(path)
    assert NGram.load(path) is first
    NGram.fit([["a"], ["b", "c"]]).save(path)
    assert NGram.load(path).units != first.units
