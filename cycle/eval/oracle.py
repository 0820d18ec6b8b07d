"""The true transcripts of the speech pool. Nothing outside `cycle.eval` reads them, and what it returns goes to monitors and to the oracle
control only."""

from __future__ import annotations

from cycle.data.kaldi import read_table
from cycle.errors import UserError
from cycle.eval.errors import count_all, total
from cycle.experiment import Experiment


def true_texts(exp: Experiment) -> dict[str, str]:
    """Token strings of the speech pool by utterance, for the oracle control and for monitors."""
    path = exp.oracle / "speech" / "tokens"
    if not path.exists():
        raise UserError("no true transcripts of the speech pool", path, "run stage 1")
    return read_table(path)


def label_quality(exp: Experiment, labels: dict[str, str], kept: set[str]) -> dict[str, float]:
    """Token error rates of pseudo-labels, the kept and the rejected ones, and how many were kept."""
    truth = true_texts(exp)

    def rate(utts: list[str]) -> float | None:
        counts = total(count_all([truth[u].split() for u in utts], [labels[u].split() for u in utts]))
        return counts.errors / counts.ref if counts.ref else None

    known = [u for u in labels if u in truth]
    values = {
        "kept_share": len(kept) / max(1, len(labels)),
        "label_error": rate(known),
        "kept_error": rate([u for u in known if u in kept]),
        "rejected_error": rate([u for u in known if u not in kept]),
    }
    return {k: v for k, v in values.items() if v is not None}
