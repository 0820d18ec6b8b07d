"""Batches: proportions, length, coverage, and the same batch at every resume."""

from collections import Counter

import numpy as np
import pytest
import torch

from cycle.data.features import FeatureStore, ShardWriter
from cycle.exchange.pools import recorded
from cycle.train.collate import collate
from cycle.train.streams import LONGEST, Mixture, Stream, by_frames, even_cuts, seed_of, widths


def stream(name, n, tokens=4):
    texts = [" ".join(["a"] * (1 + i % tokens)) for i in range(n)]
    return Stream(name, [f"{name}{i}" for i in range(n)], ["s"] * n, texts)


def ids(mixture, n):
    return [s.utt_ids[i] for k in range(n) for s, i in mixture.items(k)]


def test_shares_and_coverage():
    mixture = Mixture({"a": stream("a", 30), "b": stream("b", 300)}, {"a": 1.0, "b": 2.0, "c": 5.0}, 12 * 4 * 8, seed=3)
    drawn = ids(mixture, 200)
    counts = Counter(u[0] for u in drawn)
    assert 1.8 < counts["b"] / counts["a"] < 2.2
    times = Counter(drawn)
    assert set(times) == {f"a{i}" for i in range(30)} | {f"b{i}" for i in range(300)}
    small = [times[f"a{i}"] for i in range(30)]
    assert max(small) - min(small) <= 5  # drawn without repetition until used up; 200 batches end inside an epoch


def test_batch_n_depends_on_nothing_but_n():
    streams = {"a": stream("a", 50)}
    forward = Mixture(streams, {"a": 1.0}, 300, seed=1)
    walked = [[i for _, i in forward.items(n)] for n in range(40)]
    jumped = Mixture(streams, {"a": 1.0}, 300, seed=1)
    assert [i for _, i in jumped.items(33)] == walked[33]
    assert [i for _, i in jumped.items(2)] == walked[2]
    other = Mixture(streams, {"a": 1.0}, 300, seed=2)
    assert [[i for _, i in other.items(n)] for n in range(5)] != walked[:5]


def test_batches_resume_in_the_middle():
    mixture = Mixture({"a": stream("a", 50)}, {"a": 1.0}, 300, seed=1)
    walk = mixture.batches(0, torch.device("cpu"))
    seen = [next(walk).utt_ids for _ in range(9)]
    again = mixture.batches(5, torch.device("cpu"))
    assert [next(again).utt_ids for _ in range(4)] == seen[5:]


def test_by_frames_fills_and_respects_the_budget():
    lengths = np.array([5, 5, 5, 9, 20, 50])
    assert [b.tolist() for b in by_frames(lengths, np.arange(6), 20)] == [[0, 1, 2], [3], [4], [5]]
    assert [b.tolist() for b in by_frames(lengths, np.arange(6), 20, most=2)] == [[0, 1], [2, 3], [4], [5]]
    assert sorted(i for b in by_frames(lengths, np.arange(6), 40) for i in b.tolist()) == list(range(6))


def test_widths_are_four_an_octave():
    assert widths(np.array([1, 8, 9, 33, 40, 41, 64, 65, 80, 81, 128, 129, 161, 1000])).tolist() == [
        8, 8, 16, 40, 40, 48, 64, 80, 80, 96, 128, 160, 192, 1024,
    ]  # fmt: skip


def test_even_cuts_by_hand():
    # Of width 8 five fit, of width 16 two. The fourth is longer and leaves room for two: the first two go alone, as wide as it would be.
    assert even_cuts(np.array([5, 6, 7, 12, 8, 8]), 40) == ([0, 2, 4, 6], [16, 16, 8])
    assert even_cuts(np.array([50, 5]), 40) == ([0, 1, 2], [56, 8])
    assert even_cuts(np.array([0, 5]), 40) == ([0, 2], [8])
    assert even_cuts(np.array([], dtype=np.int32), 40) == ([0], [])


@pytest.mark.parametrize("budget", [100, 1000, 5000])
def test_even_cuts_have_few_shapes(budget):
    rng = np.random.default_rng(budget)
    lengths = np.sort(rng.integers(20, 200, 5000)) + rng.integers(-15, 15, 5000)
    starts, wide = even_cuts(lengths, budget)
    sizes = np.diff(starts)
    assert starts[0] == 0 and starts[-1] == len(lengths) and (sizes > 0).all() and len(wide) == len(sizes)
    for low, high, width in zip(starts[:-1], starts[1:], wide, strict=True):
        assert lengths[low:high].max() <= width
        assert (high - low) * width <= budget or high - low == 1
    shapes = set(zip(sizes[:-1].tolist(), wide[:-1], strict=True))
    assert len(shapes) == len(set(wide[:-1]))  # one size for each width
    assert all(size == max(1, min(LONGEST, budget // width)) for size, width in shapes)


def test_even_batches(tmp_path):
    writer = ShardWriter(tmp_path, 0)
    for n in range(60):
        writer.add(f"u{n}", np.ones((20 + n, 2), np.float32), spk="s", text=" ".join("a" * (1 + n % 9)))
    writer.close()
    part = recorded("paired", FeatureStore(tmp_path))
    part.durations = [np.array([0] * len(text.split()) + [frames]) for text, frames in zip(part.texts, part.frames, strict=True)]
    mixture = Mixture({"paired": part}, {"paired": 1.0}, 400, seed=1, even=True)
    seen, shapes = Counter(), Counter()
    for number, batch in zip(range(40), mixture.batches(0, torch.device("cpu")), strict=False):
        assert batch.utt_ids == [s.utt_ids[i] for s, i in mixture.items(number)]
        seen.update(batch.utt_ids)
        frames, tokens = batch.speech.feats.size(1), batch.durations.size(1)
        assert batch.f0.shape == batch.speech.feats.shape[:2] and frames % 8 == 0 and tokens % 8 == 1
        for told in ((batch.speech.feats[..., 0] > 0).sum(1), batch.durations.sum(1)):
            assert torch.equal(told, batch.speech.lengths)
        shapes[frames] += 1
    assert len(seen) == 60 and len(shapes) <= 7


def test_subset_keeps_everything_in_step():
    s = stream("a", 5)
    s.durations = [np.full(i + 1, i) for i in range(5)]
    s.nbest = [[("a", float(i))] for i in range(5)]
    part = s.subset([3, 1])
    assert part.utt_ids == ["a3", "a1"] and part.texts == [s.texts[3], s.texts[1]]
    batch = collate([(part, 0), (part, 1)])
    assert batch.durations.tolist() == [[3, 3, 3, 3], [1, 1, 0, 0]] and batch.nbest[1] == [("a", 1.0)]


def test_durations_of_other_recordings_are_noticed(tmp_path):
    writer = ShardWriter(tmp_path, 0)
    for n, frames in enumerate((4, 6)):
        writer.add(f"u{n}", np.zeros((frames, 2), np.float32), spk="s", text="a b")
    writer.close()
    part = recorded("paired", FeatureStore(tmp_path))
    part.durations = [np.array([1, 2, 1]), np.array([3, 2, 1])]
    batch = collate([(part, 0), (part, 1)])
    assert batch.speech.feats.dtype == torch.float16 and batch.to(torch.device("cpu")).speech.feats.dtype == torch.float32
    part.durations = part.durations[::-1]
    with pytest.raises(AssertionError, match="other recordings"):
        collate([(part, 0), (part, 1)])


def test_a_batch_has_what_all_of_its_streams_have(tmp_path):
    writer = ShardWriter(tmp_path, 0)
    writer.add("b0", np.ones((5, 4), np.float32), spk="s", text="a")
    writer.close()
    heard, read = recorded("paired", FeatureStore(tmp_path)), stream("text", 1)
    assert collate([(heard, 0)]).speech is not None
    for items in ([(heard, 0), (read, 0)], [(read, 0), (heard, 0)]):
        assert collate(items).speech is None and len(collate(items).texts) == 2


def test_seed_of_is_stable():
    assert seed_of(1, "a") == 0x2A123B262270 != seed_of(1, "b")  # in every process, on every machine
