"""CIDEr-D in batches: by hand, against pycocoevalcap, against the figures of a third library, with document frequencies of another set."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from pycocoevalcap.cider.cider import Cider

from cycle.eval.cider import CiderD, DocumentFrequencies, others

KNOWN = json.loads((Path(__file__).parent / "captions.json").read_text())  # cider_d: by aac-metrics 0.6.0


def small() -> tuple[dict[str, list[str]], dict[str, str]]:
    return {c["clip"]: c["references"] for c in KNOWN["clips"]}, {c["clip"]: c["caption"] for c in KNOWN["clips"]}


def test_worked_by_hand() -> None:
    """Two clips, so a word of one clip weighs ln 2, one of both nothing.

    "a dog barks" against "a dog barks loud": words a (0), dog, barks: each ln 2 = w; the reference has loud too. Cosine of words:
    2 w^2 / (sqrt(2) w * sqrt(3) w) = 2 / sqrt(6). Pairs: a-dog, dog-barks of 2 against 3: 2 / sqrt(6) again. Triples: 1 of 1 against 2:
    1 / sqrt(2). Fours: the caption has none: 0. One pair of words fewer: exp(-1 / 72).
    """
    judge = CiderD({"x": ["a dog barks loud"], "y": ["a bell rings"]})
    expected = 10 * math.exp(-1 / 72) * (2 / math.sqrt(6) + 2 / math.sqrt(6) + 1 / math.sqrt(2) + 0) / 4
    assert judge(["a dog barks"], ["x"]) == pytest.approx([expected], abs=1e-12)
    assert judge(["a dog barks loud", "a a", "", "b"], ["x"] * 4) == pytest.approx([10.0, 0, 0, 0])


def test_a_repeated_word_counts_as_often_as_the_reference_has_it() -> None:
    """Clipping: "dog dog dog" has a larger vector than "dog", and no more in common with it."""
    judge = CiderD({"x": ["dog"], "y": ["bell"]})
    cosine = min(3 * math.log(2), math.log(2)) * math.log(2) / (3 * math.log(2) * math.log(2))
    assert judge(["dog dog dog"], ["x"]) == pytest.approx([10 * math.exp(-4 / 72) * cosine / 4])


def test_three_implementations_agree() -> None:
    references, captions = small()
    ours = CiderD(references)(list(captions.values()), list(captions))
    mean, theirs = Cider().compute_score(references, {clip: [caption] for clip, caption in captions.items()})
    assert ours == pytest.approx(list(theirs), abs=1e-9) and sum(ours) / len(ours) == pytest.approx(mean, abs=1e-9)
    assert ours == pytest.approx([clip["cider_d"] for clip in KNOWN["clips"]], abs=1e-6)
    assert KNOWN["corpus"] == pytest.approx(mean, abs=1e-6) and 0.2 < mean < 5


def test_a_batch_is_its_items_whatever_the_order() -> None:
    references, _ = small()
    frequencies = DocumentFrequencies(references.values())
    rng = random.Random(1)
    words = ["a", "dog", "bird", "barks", "sings", "and", "then", "loudly", "rain"]
    drawn = [" ".join(rng.choices(words, k=rng.randint(0, 14))) for _ in range(40)] + ["a dog barks"] * 5
    clips = rng.choices(list(references), k=len(drawn))
    batch = CiderD(references, frequencies)(drawn, clips)
    each = [CiderD({clip: references[clip]}, frequencies)([text], [clip])[0] for text, clip in zip(drawn, clips, strict=True)]
    assert batch == pytest.approx(each, abs=1e-12) and max(batch) > 0


def test_document_frequencies_of_another_set() -> None:
    """The reward counts in training, the score in test: pycocoevalcap with the other set's counts put in its place says the same."""
    references, captions = small()
    names = list(references)
    train, test = {n: references[n] for n in names[:12]}, {n: references[n] for n in names[12:]}
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    scorer = CiderScorer()
    for name, texts in train.items():
        scorer += (captions[name], texts)
    scorer.compute_doc_freq()
    counted = scorer.document_frequency
    other = CiderScorer()
    for name, texts in test.items():
        other += (captions[name], texts)
    other.document_frequency = counted
    theirs = other.compute_cider()  # both sets hold twelve clips, which is what its idf divides by
    judge = CiderD(test, DocumentFrequencies(train.values()))
    assert judge([captions[n] for n in test], list(test)) == pytest.approx(theirs, abs=1e-9)
    assert judge([captions[n] for n in test], list(test)) != pytest.approx(CiderD(test)([captions[n] for n in test], list(test)), abs=1e-3)


def test_one_reference_and_none() -> None:
    judge = CiderD({"x": ["un chien aboie très fort"], "y": ["雷 声"]})
    assert judge(["un chien aboie très fort", "雷 声"], ["x", "y"]) == pytest.approx([10.0, 5.0])  # two words have no 3- and 4-grams
    with pytest.raises(ValueError, match="'z' has no references"):
        CiderD({"z": []})


def test_people_against_each_other() -> None:
    said, rest = others({"x": ["a", "b", "c"], "y": ["alone"]})
    assert said == {"x": "a"} and rest == {"x": ["b", "c"]}
