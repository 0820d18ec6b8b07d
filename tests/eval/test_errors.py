"""Errors: hand-worked, against a textbook recursion, and the alignment adds up."""

from __future__ import annotations

import itertools
import random
from functools import lru_cache

import jiwer
import pytest

from cycle.eval.errors import Counts, align, count, count_all, distance, error_rate, total


def textbook(ref: str, hyp: str) -> int:
    @lru_cache(None)
    def cost(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(cost(i - 1, j) + 1, cost(i, j - 1) + 1, cost(i - 1, j - 1) + (ref[i - 1] != hyp[j - 1]))

    return cost(len(ref), len(hyp))


def strings(longest: int) -> list[str]:
    return ["".join(s) for n in range(longest + 1) for s in itertools.product("ab", repeat=n)]


def test_all_short_strings() -> None:
    for ref, hyp in itertools.product(strings(4), strings(4)):
        counts = count(ref, hyp)
        assert counts.errors == distance(ref, hyp) == textbook(ref, hyp)
        assert counts.ref == len(ref) == counts.hits + counts.sub + counts.dele
        assert len(hyp) == counts.hits + counts.sub + counts.ins


def test_alignment_reads_back_and_agrees() -> None:
    for ref, hyp in itertools.product(strings(4), strings(4)):
        steps = align(list(ref), list(hyp))
        assert "".join(r for _, r, _ in steps) == ref and "".join(h for _, _, h in steps) == hyp
        assert all((op == "=") == (r == h) and (op == "I") == (r == "") and (op == "D") == (h == "") for op, r, h in steps)
        assert sum(op != "=" for op, _, _ in steps) == textbook(ref, hyp)


def test_worked_by_hand() -> None:
    counts = count(["ni3", "hao3", "ma5"], ["ni2", "hao3", "ma5", "ma5", "a5"])
    assert counts == Counts(sub=1, ins=2, dele=0, ref=3, hits=2)
    assert counts.errors == 3 and counts.rate == 1.0
    assert align(["ni3", "hao3", "ma5"], ["ni2", "ma5"]) == [("S", "ni3", "ni2"), ("D", "hao3", ""), ("=", "ma5", "ma5")]


def test_as_jiwer_counts() -> None:
    """A library of others, on sentences of random words."""
    draw = random.Random(0)
    refs, hyps = ([" ".join(draw.choices("abcdefg", k=draw.randint(1, 9))) for _ in range(300)] for _ in range(2))
    theirs, ours = jiwer.process_words(refs, hyps), total(count_all([r.split() for r in refs], [h.split() for h in hyps]))
    assert (ours.errors, ours.ref) == (theirs.substitutions + theirs.insertions + theirs.deletions, sum(len(r.split()) for r in refs))
    assert ours.rate == pytest.approx(theirs.wer)


def test_sum_weighs_units_not_utterances() -> None:
    counts = total(count_all([["a"] * 9, ["b"]], [["a"] * 9, ["c"]]))
    assert (counts.errors, counts.ref, counts.rate) == (1, 10, 0.1)
    assert error_rate([["a"] * 9, ["b"]], [["a"] * 9, ["c"]]) == 0.1
    assert total([]) == Counts() and total([]).rate == 0.0


def test_empty_sides() -> None:
    assert count([], []) == Counts() and count([], []).rate == 0.0
    assert count([], ["a"]) == Counts(ins=1) and count([], ["a"]).rate == float("inf")
    assert count(["a", "b"], []) == Counts(dele=2, ref=2) and count(["a", "b"], []).rate == 1.0
    assert (count([], ["a"]) + count(["a"], ["a"])).rate == 1.0


def test_uneven_sets_are_refused() -> None:
    with pytest.raises(ValueError):
        count_all([["a"]], [])


def test_units_are_whole_strings() -> None:
    """A differing tone is one error, however long the token."""
    assert distance(["zhuang1"], ["zhuang4"]) == 1
