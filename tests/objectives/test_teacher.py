"""The reward without transcripts: errors to be expected if the round's labels are right."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from cycle.data.batch import Batch
from cycle.objectives.base import Models
from cycle.objectives.judging import TextJudge
from cycle.objectives.sequence import Mwer, Scst
from cycle.rewards import expected_error_rate
from tests.objectives.toy import STRINGS, ToyRecognizer, toy_batch

SURE = [[("a b", 1.0)]]


def test_worked_by_hand():
    """If "a b" was said (0.75) or "a" (0.25): "a" has one error and none, in 1.75 tokens."""
    truth = [("a b", 0.75), ("a", 0.25)]
    found = expected_error_rate(["a", "a b", ""], [0, 0, 0], [truth])
    assert found == pytest.approx([-0.75 / 1.75, -0.25 / 1.75, -1.0])


def test_a_certain_truth_is_an_error_rate():
    assert expected_error_rate(["a b", "a", "c c c"], [0, 0, 0], SURE) == [0.0, -0.5, -1.5]
    assert expected_error_rate(["a", ""], [0, 1], [[("", 1.0)], []]) == [None, None]


def test_it_is_the_mean_over_draws_of_the_truth():
    """Brute force: of many truths drawn with their probabilities, errors over units."""
    truth = list(zip(["a b c", "a", "b b"], [0.5, 0.3, 0.2], strict=True))
    drawn = [t for t, p in truth for _ in range(round(100 * p))]
    for hyp in STRINGS[:20]:
        errors = sum(_edits(tuple(t.split()), tuple(hyp.split())) for t in drawn)
        assert expected_error_rate([hyp], [0], [truth]) == pytest.approx([-errors / sum(len(t.split()) for t in drawn)])


def _edits(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(_edits(a[1:], b) + 1, _edits(a, b[1:]) + 1, _edits(a[1:], b[1:]) + (a[0] != b[0]))


ORIGIN = SimpleNamespace(language="letters", models=frozenset({"asr"}))


def labelled(truths: list[list[tuple[str, float]]]) -> Batch:
    """Recordings with lists, as the stream `labelled` has them."""
    return replace(toy_batch([""] * len(truths)), nbest=truths)


def test_each_transcript_is_judged_by_its_own_recording():
    judge = TextJudge({"teacher": 2.0})
    judge.begin(ORIGIN)  # type: ignore[arg-type]
    batch = labelled([[("a b", 1.0)], [("c", 1.0)]])
    reward, valid = judge(batch, [["a b", "a"], ["c"]], Models(None, None))  # type: ignore[arg-type]
    assert reward.tolist() == [[0.0, -1.0], [0.0, 0.0]] and valid.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    "objective",
    [
        Scst({"teacher": 1.0}, samples=8, by="attention"),
        Scst({"teacher": 1.0}, baseline="greedy", by="attention"),
        Mwer({"teacher": 1.0}, nbest=8, by="attention"),
    ],
)
def test_it_learns_from_recordings_alone_what_the_teacher_takes_for_true(objective):
    torch.manual_seed(0)
    toy, goal = ToyRecognizer(), [("b c", 0.7), ("b a", 0.3)]
    objective.begin(ORIGIN)
    assert objective.needs_labels and not objective.needs_texts
    risk = torch.tensor([-r for r in expected_error_rate(STRINGS, [0] * len(STRINGS), [goal]) if r is not None])
    before = float((toy.p() * risk).sum().detach())
    optimizer = torch.optim.Adam(toy.parameters(), 0.05)
    for step in range(200):
        optimizer.zero_grad()
        objective(labelled([goal] * 8), Models(toy, None), step).value.backward()  # type: ignore[arg-type]
        optimizer.step()
    after = float((toy.p() * risk).sum().detach())
    assert before > 0.7 and after < float(risk.min()) + 0.1
    assert toy.greedy() == "b c"


def test_true_texts_are_needed_where_errors_are_counted():
    assert Mwer().needs_texts and Scst({"error_rate": 0.5, "teacher": 1.0}).needs_texts
    assert not Mwer({"teacher": 1.0}).needs_texts and not Mwer({"error_rate": 0.0, "teacher": 1.0}).needs_texts
