"""Parts of syllables, tones, repairs and confusions, worked out by hand."""

from __future__ import annotations

import pytest

from cycle.eval.errors import align
from cycle.eval.syllables import Tally, by_part, by_tone, confusions, repairs, right_units, taken_apart


@pytest.mark.parametrize(
    ("syllable", "parts"),
    [("zhong1", ("zh", "ong", "1")), ("a5", ("∅", "a", "5")), ("er2", ("∅", "er", "2")), ("zi4", ("z", "i", "4")), ("K", ("∅", "K", ""))],
)
def test_taken_apart(syllable: str, parts: tuple[str, str, str]) -> None:
    assert taken_apart(syllable) == parts


def test_by_part() -> None:
    said, heard = ["zhong1", "guo2", "ren2", "hao3"], ["zong1", "guo2", "ren4"]  # z for zh, tone 4 for 2, one lost
    assert by_part([align(said, heard)]) == {"initial": Tally(2, 4), "final": Tally(1, 4), "tone": Tally(2, 4)}


def test_an_inserted_syllable_is_nobodys() -> None:
    assert by_part([align(["ni3"], ["ni3", "ni3"])])["initial"] == Tally(0, 1)


def test_by_tone() -> None:
    said, heard = ["ma1", "ma2", "ma1", "shi4"], ["ma1", "ma3", "na1"]
    wrong = (Tally(1, 1), Tally(1, 1))
    assert by_tone([align(said, heard)]) == {"1": (Tally(1, 2), Tally(0, 2)), "2": wrong, "4": wrong}


def test_repairs() -> None:
    ref = ["a", "b", "c", "d"]
    assert right_units(ref, ["a", "x", "c"]) == [True, False, True, False]
    assert repairs(ref, ["a", "x", "c"], ["a", "b", "y"]) == (1, 1, 1)  # b repaired, c broken, d wrong in both
    assert repairs(ref, ref, ref) == (0, 0, 0)


def test_confusions() -> None:
    refs, hyps, counts = confusions([align(["a", "b", "a", "c"], ["a", "d", "e", "c"]), align(["a", "b"], ["e"])], 3)
    assert refs == ["a", "b"] and set(hyps) == {"a", "b", "e", ""} | ({"d"} if "d" in hyps else set())
    assert counts["a", "a"] == 1 and counts["a", "e"] >= 1 and sum(n for (ref, _), n in counts.items() if ref == "b") >= 1
    assert confusions([align(["a"], ["a"])], 3) == ([], [""], {})
