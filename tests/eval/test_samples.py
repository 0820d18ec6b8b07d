"""Samples come back from disk as they were, and only for what they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cycle.eval import samples
from cycle.eval.plots import alignment
from tests import fake_experiment


def test_there_and_back(tmp_path: Path) -> None:
    made = fake_experiment.samples()
    samples.write(tmp_path / "samples", made, {"version": 1})
    kept = samples.read(tmp_path / "samples", {"version": 1})
    assert kept is not None and [s.utt for s in kept] == [s.utt for s in made]
    for old, new in zip(made, kept, strict=True):
        assert (old.kind, old.text, old.tokens, old.wav, old.why) == (new.kind, new.text, new.tokens, new.wav, new.why)
        assert (old.feats is None) == (new.feats is None) and len(old.views) == len(new.views)
        for a, b in zip(old.views, new.views, strict=True):
            assert (a.round, a.hyp, a.said, a.labels, a.second) == (b.round, b.hyp, b.said, b.labels, b.second)
            for name in ("spoken", "durations", "posteriors", "path", "attention"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert samples.read(tmp_path / "samples", {"version": 2}) is None and samples.read(tmp_path / "none") is None


def test_the_table_holds_what_is_drawn() -> None:
    sample = fake_experiment.samples()[0]
    rows = list(alignment._rows(sample, 0.016))
    view = sample.views[1]
    assert view.attention is not None and view.durations is not None
    cells = [r for r in rows if r["kind"] == "attention" and r["round"] == 1]
    np.testing.assert_allclose(alignment.grid_of(cells), view.attention, atol=1e-3)
    # states 1, 3, 5 and 7, 15 outputs a second
    spans = [(r["label"], r["start"], r["end"]) for r in rows if r["kind"] == "alignment" and r["round"] == 1]
    assert spans == [
        ("n", 0.0667, 0.2),
        ("i3", 0.2667, 0.4),
        ("h", 0.4667, 0.6),
        ("ao3", 0.6667, 0.7333),
    ]
    spoken = [r for r in rows if r["kind"] == "duration" and r["round"] == 1]
    assert [r["label"] for r in spoken] == ["n", "i3", "h", "ao3", "(end)"] and spoken[-1]["end"] == 0.64
