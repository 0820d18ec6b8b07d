"""CTC search and alignment against brute force over every path of a tiny alphabet."""

import itertools
import math

import pytest
import torch

from cycle.models.align import durations, viterbi
from cycle.models.ctc_search import greedy, prefix_beam


def collapse(path):
    return tuple(t for t, _ in itertools.groupby(path) if t)


def all_strings(logp):
    """Every token string's probability, all its paths summed."""
    T, V = logp.shape
    out = {}
    for path in itertools.product(range(V), repeat=T):
        p = math.exp(sum(float(logp[t, v]) for t, v in enumerate(path)))
        out[collapse(path)] = out.get(collapse(path), 0.0) + p
    return out


def emissions(seed, B=3, T=5, V=4, sharp=1.5):
    return (torch.randn(B, T, V, generator=torch.Generator().manual_seed(seed)) * sharp).log_softmax(-1)


@pytest.mark.parametrize("seed", range(4))
def test_wide_beam_is_exact(seed):
    logp = emissions(seed)
    lengths = torch.tensor([5, 3, 4])
    for row, length, beams in zip(logp, lengths, prefix_beam(logp, lengths, beam=200, top_k=3).lists(), strict=True):
        exact = all_strings(row[:length])
        found = {tuple(t): s for t, s in beams}
        assert set(found) == set(exact)
        for tokens, score in found.items():
            assert score == pytest.approx(math.log(exact[tokens]), abs=1e-4)
        assert [s for _, s in beams] == sorted((s for _, s in beams), reverse=True)


def test_hypotheses_of_a_beam_differ():
    for beams in prefix_beam(emissions(9, T=8), torch.tensor([8, 8, 8]), beam=4, top_k=3).lists():
        assert len({tuple(t) for t, _ in beams}) == len(beams) == 4


@pytest.mark.parametrize(("V", "top_k"), [(2, 16), (3, 1)])
def test_hypotheses_differ_where_there_are_fewer_than_places(V, top_k):
    for seed in range(5):
        for beams in prefix_beam(emissions(seed, T=8, V=V), torch.tensor([8, 8, 8]), beam=8, top_k=top_k).lists():
            assert len({tuple(t) for t, _ in beams}) == len(beams) > 1


def test_padding_and_company_do_not_matter():
    logp, lengths = emissions(3), torch.tensor([5, 2, 4])
    together = prefix_beam(logp, lengths, beam=4).lists()
    for i, n in enumerate(lengths):
        alone = prefix_beam(logp[i : i + 1, :n], lengths[i : i + 1], beam=4).lists()[0]
        assert [t for t, _ in alone] == [t for t, _ in together[i]]


def test_greedy_by_hand():
    #            blank  a    b
    p = torch.tensor([[[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]])
    (((tokens, score),),) = greedy(p.log(), torch.tensor([5])).lists()
    assert tokens == [1, 1, 2] and score == pytest.approx(math.log(0.8 * 0.8 * 0.7 * 0.8 * 0.6), abs=1e-5)
    assert greedy(p.log(), torch.tensor([2])).lists() == [[([1], pytest.approx(math.log(0.8 * 0.8), abs=1e-5))]]


def test_nothing_is_heard_where_there_are_no_numbers():
    logp = emissions(1, B=2)
    logp[1, 2] = math.nan
    for found in (greedy(logp, torch.tensor([5, 5])), prefix_beam(logp, torch.tensor([5, 5]))):
        heard, nothing = found.lists()
        assert heard and nothing == []


@pytest.mark.parametrize("target", [(1,), (1, 2), (1, 1), (2, 3, 2)])
def test_viterbi_is_the_best_path(target):
    for seed in range(3):
        logp = emissions(seed, B=1, T=6)
        paths = [p for p in itertools.product(range(4), repeat=6) if collapse(p) == target]
        best = max(sum(float(logp[0, t, v]) for t, v in enumerate(p)) for p in paths)
        ids = torch.tensor([target])
        path, value = viterbi(logp, torch.tensor([6]), ids, torch.tensor([len(target)]))
        assert float(value) == pytest.approx(best, abs=1e-4)
        emitted = [0 if s % 2 == 0 else target[s // 2] for s in path[0].tolist()]
        assert collapse(emitted) == target
        assert sum(float(logp[0, t, v]) for t, v in enumerate(emitted)) == pytest.approx(best, abs=1e-4)


def test_a_path_ends_with_its_utterance():
    logp, lengths, ids, sizes = emissions(5, T=9), torch.tensor([9, 4, 6]), torch.tensor([[1, 2], [3, 3], [2, 0]]), torch.tensor([2, 2, 1])
    path, value = viterbi(logp, lengths, ids, sizes)
    for i, (n, size) in enumerate(zip(lengths, sizes, strict=True)):
        alone, best = viterbi(logp[i : i + 1, :n], lengths[i : i + 1], ids[i : i + 1, :size], sizes[i : i + 1])
        assert path[i, :n].tolist() == alone[0].tolist() and float(value[i]) == pytest.approx(float(best))
        assert set(path[i, n:].tolist()) <= {int(alone[0, -1])}


def test_too_short_is_told():
    _, value = viterbi(emissions(0, B=1, T=2), torch.tensor([2]), torch.tensor([[1, 1]]), torch.tensor([2]))
    assert float(value) < -1e20


def test_durations_by_hand():
    #  blank blank a a blank blank b blank blank blank: blanks between are shared, the lead is a's, the tail is shared with the end
    path = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 4, 4, 4], [1, 2, 2, 2, 9, 9, 9, 9, 9, 9]])
    out = durations(path, torch.tensor([10, 4]), torch.tensor([2, 1]))
    assert out.tolist() == [[5, 4, 1], [3, 1, 0]]


def test_durations_sum_to_the_frames():
    logp, lengths = emissions(1, B=3, T=20), torch.tensor([20, 9, 15])
    path, _ = viterbi(logp, lengths, torch.tensor([[1, 2, 3], [2, 2, 0], [3, 0, 0]]), torch.tensor([3, 2, 1]))
    out = durations(path, lengths, torch.tensor([3, 2, 1]))
    assert out.sum(1).tolist() == lengths.tolist()
    assert (out[0, :3] > 0).all() and (out[1, :2] > 0).all() and (out[2, 2:] == 0).all()
