"""The health of the cycle: pseudo-labels against the share kept, synthetic against real speech, collapse monitors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.data.schemas import LABEL
from cycle.data.table import Table, sample
from cycle.eval.errors import distance
from cycle.eval.figures import Rows
from cycle.eval.label_ranking import per_token
from cycle.eval.oracle import true_texts
from cycle.eval.plots.axes import from_zero, legend_above, listed, panels
from cycle.eval.story import Story, number
from cycle.eval.style import BLUE, COLORS, RED, Style

SHARES = [round(0.05 * i, 2) for i in range(1, 21)]


# Pseudo-labels: how wrong the most confident ones are, and where selection cut


def ranking_table(story: Story) -> Rows:
    """Token error of the most confident share of each round's labels, and of what was kept as `kept`; of large pools a sample."""
    rows: Rows = []
    for told in story.rounds:
        files = sorted((story.exp.round(told["round"]) / "labels").glob("*.arrow"))
        if not told["round"] or not files:
            continue
        labels = Table(files, LABEL)
        some = list(labels.subset(sample(len(labels))).rows())
        truth = {utt: text.split() for utt, text in true_texts(story.exp, {row["utt"] for row in some}).items()}
        known = sorted((row for row in some if row["utt"] in truth), key=lambda row: (-per_token(row["logp"], row), row["utt"]))
        errors = np.cumsum([distance(truth[row["utt"]], row["text"].split()) for row in known])
        refs = np.cumsum([len(truth[row["utt"]]) for row in known])
        for share in SHARES if known else []:
            last = max(1, round(share * len(known))) - 1
            rows.append({"round": told["round"], "kind": "best", "share": share, "error": round(errors[last] / max(1, refs[last]), 6)})
        kept, wrong = number(told.get("kept_share")), number(told.get("kept_error"))
        if known and kept and wrong is not None:
            rows.append({"round": told["round"], "kind": "kept", "share": round(kept, 6), "error": round(wrong, 6)})
    return rows


def draw_ranking(canvas: Canvas, rows: Rows, style: Style) -> None:
    axes: Axes = canvas.add_subplot()
    canvas.set_size_inches(style.column, 2.0)
    for i, number_ in enumerate(sorted({int(r["round"] or 0) for r in rows})):
        color, mine = COLORS[i % len(COLORS)], [r for r in rows if r["round"] == number_]
        for kind, form, name in (("best", "-", f"round {number_}"), ("kept", "D", None)):
            line = [(100 * float(r["share"] or 0), 100 * float(r["error"] or 0)) for r in mine if r["kind"] == kind]
            if line:
                axes.plot(*zip(*line, strict=True), form, color=color, label=name)
    axes.set_xlim(0, 102)
    from_zero(axes)
    axes.set_xlabel("share of the speech pool, most confident first (%)")
    axes.set_ylabel("token error of it (%)")
    legend_above(axes)


def say_ranking(rows: Rows) -> str:
    kept = [r for r in rows if r["kind"] == "kept"]
    return " ".join(
        f"Round {r['round']} kept {100 * float(r['share'] or 0):.0f} %, {100 * float(r['error'] or 0):.1f} % wrong." for r in kept
    )


# Monitors by round

LABELS = {"kept_share": "share kept", "kept_error": "error of the kept", "rejected_error": "error of the rejected", "label_error": "of all"}
GAP = {
    "tts_intelligibility": "judge, synthetic",
    "judge_on_recordings": "judge, real",
    "synthetic_error": "own ASR, synthetic",
    "asr_test": "own ASR, real test",
}
COLLAPSE = {
    "empty_share": "empty dev hypotheses (%)",
    "empty_labels": "empty pseudo-labels (%)",
    "vocabulary": "tokens in use (% of paired)",
    "synthetic_kept": "synthetic speech kept (%)",
    "tts_pitch_std": "pitch spread (std of corpus)",
    "tts_duration_std": "spread of log-duration",
}


def monitors_table(story: Story, names: Iterable[str]) -> Rows:
    """The rounds that have any of these monitors."""
    rows: Rows = [{"round": row["round"], **{name: number(row.get(name)) for name in names}} for row in story.rounds]
    return [row for row in rows if any(row[name] is not None for name in names)]


def _ticks(axes: Axes, rows: Rows) -> None:
    axes.set_xticks(sorted({int(r["round"] or 0) for r in rows}))
    from_zero(axes)
    axes.set_xlabel("round")


def draw_lines(names: dict[str, str]) -> Callable[[Canvas, Rows, Style], None]:
    """Shares in percent, one line each."""

    def draw(canvas: Canvas, rows: Rows, style: Style) -> None:
        axes: Axes = canvas.add_subplot()
        canvas.set_size_inches(style.column, 2.1)
        for color, form, (key, label) in zip(COLORS, ("o-", "s--", "D-.", "^:"), names.items(), strict=False):
            points = [(int(r["round"] or 0), 100 * v) for r in rows if (v := number(r[key])) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), form, color=color, label=label)
        _ticks(axes, rows)
        axes.set_ylabel("%")
        legend_above(axes, 2)

    return draw


def draw_collapse(canvas: Canvas, rows: Rows, style: Style) -> None:
    shown = {k: v for k, v in COLLAPSE.items() if any(r[k] is not None for r in rows)}
    for axes, (key, label) in zip(panels(canvas, style, len(shown), 1.2), shown.items(), strict=True):
        points = [(int(r["round"] or 0), 100 * v if "%" in label else v) for r in rows if (v := number(r[key])) is not None]
        axes.plot(*zip(*points, strict=True), "o-", color=RED if key.startswith("tts") else BLUE)
        axes.set_title(label, fontsize=style.small)
        _ticks(axes, rows)


def say_monitors(names: dict[str, str]) -> Callable[[Rows], str]:
    def say(rows: Rows) -> str:
        last, shares = rows[-1], {key: label for key, label in names.items() if "spread" not in label}
        values = [(label, 100 * v if (v := number(last[key])) is not None else math.nan) for key, label in shares.items()]
        return f"In round {last['round']}: {listed(values)}."

    return say
