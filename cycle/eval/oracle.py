"""The true transcripts of the speech pool. Nothing outside `cycle.eval` reads them, and what it returns goes to monitors and to the oracle
control only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cycle.data.table import Table, sample
from cycle.errors import UserError
from cycle.eval.errors import error_rate
from cycle.experiment import Experiment


def true_texts(exp: Experiment, only: set[str] | None = None) -> dict[str, str]:
    """Token strings of the speech pool by utterance, for the oracle control and for monitors.

    Args:
        only: utterances asked for; the others are passed over, not kept in memory.
    """
    path = exp.oracle / "speech" / "tokens"
    if not path.exists():
        raise UserError("no true transcripts of the speech pool", path, "run stage 1")
    with open(path, encoding="utf-8") as lines:
        rows = (line.rstrip("\n").partition(" ") for line in lines)
        return {utt: text for utt, _, text in rows if only is None or utt in only}


def label_quality(exp: Experiment, labels: Table, kept: NDArray[np.int64]) -> dict[str, float]:
    """Token error rates of pseudo-labels, the kept and the rejected ones (of large pools a sample), and how many were kept."""
    watched = sample(len(labels))
    some = labels.subset(watched)
    truth = true_texts(exp, set(some.column("utt")))
    rows = [
        (truth[utt].split(), text.split(), keep)
        for utt, text, keep in zip(some.column("utt"), some.column("text"), np.isin(watched, kept).tolist(), strict=True)
        if utt in truth
    ]

    def rate(which: list[tuple[list[str], list[str], bool]]) -> float | None:
        return error_rate([ref for ref, _, _ in which], [hyp for _, hyp, _ in which]) if any(ref for ref, _, _ in which) else None

    values = {
        "kept_share": len(kept) / max(1, len(labels)),
        "label_error": rate(rows),
        "kept_error": rate([row for row in rows if row[2]]),
        "rejected_error": rate([row for row in rows if not row[2]]),
    }
    return {k: v for k, v in values.items() if v is not None}
