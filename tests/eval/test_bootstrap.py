"""The bootstrap: hand-worked, against every possible draw, and honest when nothing differs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cycle.eval import bootstrap
from cycle.eval.bootstrap import interval, paired_p

ERRORS, REFS = [0, 2, 1, 5], [4, 3, 1, 6]


def every_draw(errors: list[int], refs: list[int]) -> list[float]:
    draws = itertools.product(range(len(errors)), repeat=len(errors))
    return [sum(errors[i] for i in draw) / sum(refs[i] for i in draw) for draw in draws]


def test_interval_worked_by_hand() -> None:
    """Two utterances of one unit, one wrong: draws have 0, 1/2 or 1 as their rate, with chances of 1/4, 1/2 and 1/4."""
    assert interval([0, 1], [1, 1], level=0.95) == (0.0, 1.0)
    assert interval([0, 1], [1, 1], level=0.4) == (0.5, 0.5)


def test_interval_equals_that_of_every_draw() -> None:
    exact = np.quantile(every_draw(ERRORS, REFS), [0.05, 0.95], method="inverted_cdf")
    np.testing.assert_allclose(interval(ERRORS, REFS, resamples=40_000, level=0.9), exact, atol=0.02)


def test_interval_is_of_the_ratio_of_sums() -> None:
    """A faulty utterance of one unit must not weigh as much as a clean one of a hundred."""
    low, high = interval([0, 1] * 50, [100, 1] * 50)
    assert low < 1 / 101 < high < 0.02


def test_interval_without_spread_is_a_point() -> None:
    assert interval([1] * 30, [4] * 30) == (0.25, 0.25)


def test_interval_covers_the_truth() -> None:
    """Of 200 samples of a known rate, the 95 % interval holds it in about 190."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        refs = rng.integers(2, 10, 150)
        low, high = interval(rng.binomial(refs, 0.2), refs, resamples=400)
        hits += low <= 0.2 <= high
    assert 178 <= hits <= 199


def test_p_worked_by_hand() -> None:
    """a is wrong once where b is right: d = 1/2, draws give 0, 1/2, 1 with 1/4, 1/2, 1/4; half of them are as far from d as d is from 0."""
    assert paired_p([1, 0], [0, 0], [1, 1], resamples=20_000) == pytest.approx(0.5, abs=0.02)
    assert paired_p([1, 1], [0, 0], [1, 1], resamples=99) == 1 / 100  # no draw is as extreme; one is added
    assert paired_p([3, 1], [3, 1], [4, 4], resamples=99) == 1.0


def test_p_equals_that_of_every_draw() -> None:
    a, b = [2, 3, 1, 4], [0, 2, 1, 5]
    differences = every_draw([x - y for x, y in zip(a, b, strict=True)], REFS)
    d = (sum(a) - sum(b)) / sum(REFS)
    exact = np.mean([abs(each - d) >= abs(d) - 1e-12 for each in differences])
    assert paired_p(a, b, REFS, resamples=40_000) == pytest.approx(exact, abs=0.01)


def test_p_has_two_sides() -> None:
    a, b = [2, 3, 1, 4], [0, 2, 1, 3]
    assert paired_p(a, b, REFS) == paired_p(b, a, REFS)


def test_p_uses_the_pairs() -> None:
    """A small but steady difference is certain, although the two intervals overlap."""
    rng = np.random.default_rng(0)
    b = rng.integers(0, 6, 200)
    a = b + (rng.random(200) < 0.1)
    refs = np.full(200, 8)
    assert paired_p(a, b, refs) < 0.01
    assert interval(a, refs)[0] < interval(b, refs)[1]


def test_p_is_honest_when_systems_are_alike() -> None:
    """Under the null hypothesis about one in twenty is below 0.05."""
    rng = np.random.default_rng(1)
    refs = np.full(100, 6)
    ps = [paired_p(rng.binomial(refs, 0.2), rng.binomial(refs, 0.2), refs, resamples=300) for _ in range(300)]
    assert 0.015 < np.mean(np.array(ps) < 0.05) < 0.1
    assert 0.4 < np.mean(ps) < 0.6


def test_seed_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, refs = list(np.arange(50) % 7), [9] * 50
    assert interval(errors, refs, seed=1) == interval(errors, refs, seed=1) != interval(errors, refs, seed=2)
    whole = interval(errors, refs, resamples=5000)
    monkeypatch.setattr(bootstrap, "CHUNK", 77)  # one draw at a time, and a part of one is a whole one
    np.testing.assert_allclose(interval(errors, refs, resamples=5000), whole, atol=0.01)
    assert 0 < paired_p(errors, [1] * 50, refs, resamples=50) <= 1


def test_utterances_without_reference() -> None:
    low, high = interval([1, 0], [0, 5])
    assert 0 <= low <= high <= 1
    assert 0 < paired_p([1, 0], [0, 0], [0, 5]) <= 1


@pytest.mark.parametrize(("errors", "refs"), [([], []), ([1, 2], [0, 0]), ([1, 2], [3])])
def test_nothing_to_draw_from_is_refused(errors: list[int], refs: list[int]) -> None:
    with pytest.raises(ValueError):
        interval(errors, refs)
    with pytest.raises(ValueError):
        paired_p(errors, errors, refs)
