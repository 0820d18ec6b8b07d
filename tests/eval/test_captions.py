"""Scores of a set of captions, what they look like, and the command that needs no model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cycle import captions as verb
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.eval import captions

REFS = {"x": ["a dog barks", "the dog is barking"], "y": ["rain falls", "it is raining hard"], "z": ["a bell rings"]}


def test_scores_of_a_perfect_set() -> None:
    found = captions.scores(REFS, {clip: texts[0] for clip, texts in REFS.items()})
    assert found.overall["bleu_1"] == pytest.approx(1.0) and found.overall["rouge_l"] == pytest.approx(1.0)
    assert set(found.overall) == {"cider_d", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"}
    assert found.overall["cider_d"] == pytest.approx(sum(found.cider_d.values()) / 3)


def test_an_empty_caption_scores_nothing() -> None:
    found = captions.scores(REFS, {"x": "", "y": "rain falls", "z": "a bell rings"})
    assert found.cider_d["x"] == 0 and found.cider_d["z"] > 0
    assert captions.scores(REFS, dict.fromkeys(REFS, "")).overall == pytest.approx(dict.fromkeys(found.overall, 0.0), abs=1e-6)


@pytest.mark.parametrize(
    ("refs", "said", "what"),
    [
        ({}, {}, "no captions"),
        ({"x": ["a"]}, {}, "no captions"),
        ({"x": ["a"]}, {"x": "a", "y": "b"}, "'y' has no references"),
        ({"x": ["a"], "y": ["b"]}, {"x": "a"}, "'y' has no caption"),
        ({"x": ["", " "], "y": ["b"]}, {"x": "a", "y": "b"}, "all references of clip 'x' are empty"),
        ({"x": ["a dog"]}, {"x": "a dog"}, "needs two clips"),
    ],
)
def test_what_cannot_be_scored_is_named(refs: dict[str, list[str]], said: dict[str, str], what: str) -> None:
    with pytest.raises(UserError, match=what):
        captions.scores(refs, said)


def test_empty_references_among_others_count_for_nothing() -> None:
    with_empty = {**REFS, "x": ["", *REFS["x"], "  "]}
    said = {"x": "a dog barks loudly", "y": "rain", "z": "a bell"}
    assert captions.scores(with_empty, said) == captions.scores(REFS, said)


def test_shape_by_hand() -> None:
    """Endings of references: barks, falls. Captions: one fine, said twice; one cut; one repeating three words, and cut; an empty one."""
    said = ["a dog barks", "a dog barks", "a dog and a", "rain falls and rain falls and", ""]
    look = captions.shape(said, [["a dog barks"], ["rain falls"]])
    assert look == {"length": 3.2, "distinct": 4, "words": 6, "repeated": 0.2, "cut": 0.6}
    assert all(captions.repeats(list(text)) for text in ("aa", "abcabc", "abcxabc", "xabb"))
    assert not any(captions.repeats(list(text)) for text in ("abab", "abac", "abcd", "a", ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('He says "stop", and runs.', "he says stop and runs"),
        ("line\nbreak\r\nand\ttab", "line break and tab"),
        ("It's a two-stroke engine - 'loud'!", "it's a two-stroke engine loud"),
        ("l’oiseau chante  très fort", "l'oiseau chante très fort"),
        ("ＡＢ　１２", "ab 12"),
        ("狗叫,雨", "狗 叫 雨"),
        ("50% of birds & bees 🐦", "50 of birds bees"),
        ("<blank> <unk> <sos/eos>", "blank unk sos eos"),
        (' ,"" \n… ', ""),
        ("soft\u00adhyphen", "softhyphen"),
    ],
)
def test_words_of_a_caption(text: str, words: str) -> None:
    assert " ".join(spelling("captions").spell(text)) == words


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_command_scores_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refs = table(tmp_path / "r.csv", "file_name,caption_1,caption_2,caption_3", 'x.wav,"A dog, barking",A dog barks,"One\ndog"',
                 "y.wav,Il pleut.,,Es regnet heftig", "z.wav,alone,,")  # fmt: skip
    hyps = table(tmp_path / "h.csv", "file_name,caption", "y.wav,es regnet heftig", "x.wav,a dog barking", "z.wav,")
    assert verb.main(refs, hyps) == 0
    found = json.loads(capsys.readouterr().out)
    alone = captions.scores(
        {"x": ["a dog barking", "a dog barks", "one dog"], "y": ["il pleut", "es regnet heftig"], "z": ["alone"]},
        {"x": "a dog barking", "y": "es regnet heftig", "z": ""},
    )
    assert {key: found[key] for key in alone.overall} == pytest.approx(alone.overall) and found["clips"] == 3
    assert verb.main(refs) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 2  # z has but one


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["file_name,caption_1", "x.wav,a,b"], "r.csv:2: the row has 3 fields"),
        (["name,text", "x,a"], "r.csv:1: has no columns"),
        (["file_name,caption_1", 'x.wav,"open'], "r.csv:2: is no CSV"),
        (["file_name,caption_1,caption_2", "x.wav,,"], "all captions of clip 'x.wav' are empty"),
        (["file_name,caption_1,caption_2", ",a,b"], "r.csv:2: the row names no clip"),
        (["file_name,caption_1", "x.wav,a"], "no clip has two captions"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        verb.main(table(tmp_path / "r.csv", *lines))
    assert said in str(error.value)
