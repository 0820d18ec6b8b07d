"""Momentum pseudo-labels: the teacher's arithmetic, who is kept, churn, and what survives an interruption."""

import copy
import math

import pytest
import torch

from cycle.data.batch import Hypothesis
from cycle.errors import UserError
from cycle.objectives.pseudo_label import PseudoLabel, confidence, follow, posteriors
from tests.models.test_espnet import batch
from tests.objectives.tiny import descent, origin, pair, started

H = Hypothesis


def test_follow_by_hand():
    teacher, student = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        student.weight.fill_(3.0)
        student.running_mean.fill_(1.0)
        student.num_batches_tracked.fill_(7)
    follow(teacher, student, 0.9)
    assert teacher.weight.tolist() == pytest.approx([1.2, 1.2]) and teacher.running_mean.tolist() == pytest.approx([0.1, 0.1])
    assert int(teacher.num_batches_tracked) == 7 and student.weight.tolist() == [3.0, 3.0]


def test_confidence_is_of_the_whole_hypothesis_per_token():
    assert confidence([H("a b", -3.0), H("a", -4.0)]) == -1.5
    assert confidence([]) == confidence([H("", -0.1)]) == -math.inf


def test_posteriors_by_hand():
    lists = [[H("a", math.log(0.3)), H("b", math.log(0.1))], [H("c", -5.0)]]
    torch.testing.assert_close(posteriors(lists, 3, 1.0, torch.device("cpu")), torch.tensor([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0]]))
    torch.testing.assert_close(posteriors(lists, 2, 2.0, torch.device("cpu"))[0], torch.tensor([0.9, 0.1]))


def labelled(objective, *lists):
    """The objective with a teacher that says this, call after call (the last one stays)."""
    objective = started(objective)
    answers = list(lists)
    objective.teacher.transcribe = lambda speech, search: answers.pop(0) if len(answers) > 1 else answers[0]
    return objective


LISTS = [[H("a b c", -3.0), H("a b", -4.0)], [H("b a", -8.0)], [H("", -0.1)]]


def test_who_is_kept():
    models, data = pair(), batch()
    assert labelled(PseudoLabel(), LISTS)(data, models, 0).weight == 2  # the empty one is never a label
    assert labelled(PseudoLabel(least=-2.0), LISTS)(data, models, 0).weight == 1
    assert labelled(PseudoLabel(least=-0.5), LISTS)(data, models, 0).weight == 0
    assert labelled(PseudoLabel(keep=0.4), LISTS)(data, models, 0).weight == 1  # the better one of the two seen


def test_the_curriculum_keeps_more_and_more():
    objective = started(PseudoLabel(keep=[0.2, 1.0]))
    values = [-float(n) for n in range(100)]
    kept = [sum(v >= objective._bar(list(values), step) for v in values) for step in (0, 50, 99)]
    assert kept[0] == pytest.approx(20, abs=1) and 55 < kept[1] < 65 and kept[2] == 100


def test_the_window_forgets():
    objective = started(PseudoLabel(keep=0.5, window=3))
    objective._bar([-9.0, -9.0, -9.0], 0)
    assert objective._bar([-1.0, -2.0, -3.0], 0) == -2.0


def test_the_loss_is_of_the_kept_recordings_with_their_own_labels():
    """Audio and labels in step: dropping the second utterance leaves the third with its own label."""
    lists = [[H("a b c", -1.0)], [H("b", -90.0)], [H("c c", -1.0)]]
    models, data = pair(), batch()
    models.asr.eval()
    found = labelled(PseudoLabel(least=-5.0), lists)(data, models, 0).value
    one, three = (type(data.speech)(data.speech.feats[i : i + 1], data.speech.lengths[i : i + 1]) for i in (0, 2))
    losses = [models.asr.nbest_loss(s, [[t]], torch.ones(1, 1)).value for s, t in ((one, "a b c"), (three, "c c"))]
    exact = sum(losses) / 2
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)


def test_churn():
    models, data = pair(), batch()
    changed = [[H("a b d", -3.0)], [H("b a", -8.0)], [H("a", -0.1)]]
    objective = labelled(PseudoLabel(), LISTS, LISTS, changed)
    churn = [objective(data, models, step).stats["churn"] for step in range(3)]
    assert churn == [0.0, 0.0, pytest.approx(2 / 6)]  # of 3 + 2 + (the empty one counts as) 1 tokens


def test_the_teacher_follows_and_the_origin_does_not():
    models, data = pair(), batch()
    objective = PseudoLabel(momentum=0.5)
    start = origin()
    objective.begin(start)
    before = copy.deepcopy(start.asr.state_dict())
    objective(data, models, 0)
    with torch.no_grad():
        for p in models.asr.parameters():
            p.add_(1.0)
    objective(data, models, 1)
    name = next(n for n, _ in models.asr.named_parameters())
    moved = objective.teacher.state_dict()[name] - before[name]
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 0.1))  # the second call: min(0.5, 1 / 10)
    assert all(torch.equal(v, before[k]) for k, v in start.asr.state_dict().items())
    assert not any(p.requires_grad for p in objective.teacher.parameters())


def test_a_momentum_of_one_keeps_the_teacher():
    models, data = pair(), batch()
    objective = started(PseudoLabel(momentum=1.0))
    before = copy.deepcopy(objective.teacher.state_dict())
    with torch.no_grad():
        for p in models.asr.parameters():
            p.add_(1.0)
    for step in range(3):
        objective(data, models, step)
    assert all(torch.equal(v, before[k]) for k, v in objective.teacher.state_dict().items())


def test_state_survives():
    data = batch()

    def run(objective, models, steps):
        for step in steps:
            torch.manual_seed(step)
            loss = objective(data, models, step)
            with torch.no_grad():
                for p in models.asr.parameters():
                    p.add_(0.01)
        return loss

    first, models = started(PseudoLabel(keep=0.5)), pair()
    run(first, models, range(3))
    saved, weights = copy.deepcopy(first.state()), copy.deepcopy(models.asr.state_dict())
    a = run(first, models, range(3, 5))
    again, other = started(PseudoLabel(keep=0.5)), pair()
    again.load(saved)
    other.asr.load_state_dict(weights)
    b = run(again, other, range(3, 5))
    assert torch.equal(a.value, b.value) and a.stats["churn"] == b.stats["churn"] and first.seen == again.seen
    for x, y in zip(first.teacher.state_dict().values(), again.teacher.state_dict().values(), strict=True):
        assert torch.equal(x, y)


def test_the_student_learns_its_teachers_labels():
    models = pair()
    lists = [[H("a b", -1.0), H("a", -2.0)], [H("b", -1.0)], [H("c c", -1.0)]]
    right, wrong = [["a b"], ["b"], ["c c"]], [["c c"], ["a b"], ["b"]]

    def lead():
        return (models.asr.logp(batch().speech, right) - models.asr.logp(batch().speech, wrong)).detach()

    before = lead()
    logged = descent(labelled(PseudoLabel(nbest=2), lists), models, batch(), 200, lr=1e-2)
    assert logged[-1]["loss"] < 0.6 * logged[0]["loss"]
    assert (lead() > 1).all() and (before < 0).any()  # each recording its own label


def test_mistakes_are_named():
    for args in ({"keep": 0.0}, {"keep": [0.5]}, {"momentum": 2.0}, {"nbest": 0}):
        with pytest.raises(UserError):
            PseudoLabel(**args)


def test_the_teacher_hears_without_noise():
    objective, data = started(PseudoLabel()), batch()
    first = objective.teacher.transcribe(data.speech, objective.search)
    assert first == objective.teacher.transcribe(data.speech, objective.search)
