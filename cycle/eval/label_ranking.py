"""How well each measure of confidence ranks pseudo-labels: `python -m cycle.eval.label_ranking EXP ROUND`.

Reads the labels that a round left in `EXP/round_NN/labels` and the true transcripts; prints the token error of the best tenth, quarter,
half, three quarters and all, and what a perfect chooser over the N-best list would leave. For research: nothing in a run reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cycle.data.schemas import LABEL
from cycle.data.table import Table
from cycle.errors import UserError
from cycle.eval.errors import distance
from cycle.eval.oracle import true_texts
from cycle.experiment import Experiment

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
Row = dict[str, Any]


def per_token(value: float, row: Row) -> float:
    return value / max(1, len(row["text"].split()))


MEASURES: dict[str, Callable[[Row], float]] = {
    "log-probability per token": lambda r: per_token(r["logp"], r),
    "the same + 0.3 prior": lambda r: per_token(r["logp"] + 0.3 * r["prior"], r),
    "N-best posterior": lambda r: float(r["posterior"]),
    "synthesiser's score": lambda r: float(r["tts"][0]) if r["tts"] and r["tts"][0] is not None else -1e9,
}


def curve(rows: list[Row], errors: list[int], refs: list[int], measure: Callable[[Row], float]) -> list[float]:
    """Token error of the best share of the labels, for each of SHARES."""
    order = sorted(range(len(rows)), key=lambda i: -measure(rows[i]))
    out = []
    for share in SHARES:
        best = order[: max(1, round(share * len(order)))]
        out.append(sum(errors[i] for i in best) / max(1, sum(refs[i] for i in best)))
    return out


def chosen_by_tts(row: Row) -> str:
    """The hypothesis that the synthesiser likes best among those it judged."""
    judged = [(score, text) for score, text in zip(row["tts"], row["nbest"], strict=False) if score is not None]
    return str(max(judged)[1]) if judged else str(row["text"])


def main(path: Path, number: int) -> None:
    folder = path / f"round_{number:02d}" / "labels"
    if not folder.is_dir():
        raise UserError("no labels", folder, "name an experiment and one of its rounds from 1 on")
    exp = Experiment(path.resolve(), None, "", "")  # type: ignore[arg-type]  # only paths are asked of it
    truth = {utt: text.split() for utt, text in true_texts(exp).items()}
    rows = [row for row in Table(sorted(folder.glob("*.arrow")), LABEL).rows() if row["utt"] in truth]
    if not rows:
        raise UserError("no labels", folder, "the round made none, or none of an utterance with a known transcript")
    refs = [len(truth[r["utt"]]) for r in rows]

    def errors(choose: Callable[[Row], str]) -> list[int]:
        return [distance(truth[r["utt"]], choose(r).split()) for r in rows]

    mine = errors(lambda r: str(r["text"]))
    print(f"{'ranked by':28}" + "".join(f"{100 * s:>7.0f} %" for s in SHARES))
    for name, measure in MEASURES.items():
        print(f"{name:28}" + "".join(f"{100 * v:>9.1f}" for v in curve(rows, mine, refs, measure)))
    best = sum(min(distance(truth[r["utt"]], h.split()) for h in r["nbest"] or [""]) for r in rows)
    print(f"perfect choice of the N-best: {100 * best / sum(refs):.1f}")
    print(f"choice by the synthesiser:    {100 * sum(errors(chosen_by_tts)) / sum(refs):.1f}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except (IndexError, ValueError):
        sys.exit("error: python -m cycle.eval.label_ranking EXP ROUND")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
