"""Pools through models: the order of the pool, filled batches, and less at a time when the memory does not do."""

import numpy as np
import pytest
import torch

from cycle.exchange.sweep import begin_sweep, sweep
from cycle.train.streams import Stream

CPU = torch.device("cpu")


def stream(lengths):
    return Stream("a", [f"u{i}" for i in range(len(lengths))], ["s"] * len(lengths), ["x"] * len(lengths), np.array(lengths))


def test_results_come_in_the_order_of_the_stream():
    seen = []

    def work(group, batch):
        seen.append([int(u[1:]) for u in batch.utt_ids])
        assert seen[-1] == group
        return [10 * i for i in group]

    assert sweep(stream([50, 10, 40, 10, 20]), 100, CPU, "t", work) == [0, 10, 20, 30, 40]
    assert seen == [[1, 3, 4], [2, 0]]  # by length, at most 100 padded frames


def test_out_of_memory_halves_and_goes_on():
    sizes = []

    def work(group, batch):
        sizes.append(len(group))
        if len(group) > 2:
            raise torch.OutOfMemoryError("too much")
        return group

    assert sweep(stream([10] * 7), 100, CPU, "t", work) == list(range(7))
    assert sizes == [7, 3, 1, 2, 4, 2, 2]


def test_values_are_waited_for_when_the_next_batch_is_at_work():
    """Halves of a batch that was too large are waited for at once; the last batch, when the caller wants it."""
    done = []

    def work(group, batch):
        done.append(("work", group))
        if len(group) > 2:
            raise torch.OutOfMemoryError("too much")

        def values():
            done.append(("values", group))
            return group

        return values

    later = begin_sweep(stream([10, 10, 50, 70, 20, 20, 20]), 70, CPU, "t", work)
    assert done == [
        ("work", [0, 1, 4]),
        ("work", [0]),
        ("values", [0]),
        ("work", [1, 4]),
        ("values", [1, 4]),
        ("work", [5, 6]),
        ("work", [2]),
        ("values", [5, 6]),
        ("work", [3]),
        ("values", [2]),
    ]
    assert later() == list(range(7)) and done[-1] == ("values", [3])


def test_one_utterance_that_does_not_fit_is_an_error():
    def work(group, batch):
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        sweep(stream([10] * 2), 100, CPU, "t", work)


def test_nothing_at_all():
    assert sweep(stream([]), 100, CPU, "t", lambda group, batch: group) == []
