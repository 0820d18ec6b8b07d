"""The figures of a report: for each, a function from a story to a table, one that draws the table, and an entry in `FIGURES`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.eval.bootstrap import interval
from cycle.eval.figures import COLORS, Cell, Figure, Rows
from cycle.eval.story import Story, number


def _percent(value: Any) -> float:
    known = number(value)
    return math.nan if known is None else 100 * known


def _whiskers(rows: Rows) -> list[list[float]]:
    """How far the interval reaches below and above each rate, in percent; nothing where it is not known."""
    below = [_percent(r["rate"]) - _percent(r["low"]) for r in rows]
    above = [_percent(r["high"]) - _percent(r["rate"]) for r in rows]
    return [[0.0 if math.isnan(reach) else max(0.0, reach) for reach in side] for side in (below, above)]


def _ends(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    low, high = entry.get("ci95") or (None, None)
    return number(low), number(high)


def _from_zero(axes: Axes) -> None:
    axes.set_ylim(0, max(1e-9, 1.05 * axes.get_ylim()[1]))


# Systems


def systems_table(story: Story) -> Rows:
    rows: Rows = []
    for system, entry in story.systems.items():
        low, high = _ends(entry)
        rows.append({"system": system, "rate": number(entry["rate"]), "low": low, "high": high})
    return rows


def draw_systems(canvas: Canvas, rows: Rows) -> None:
    axes: Axes = canvas.add_subplot()
    canvas.set_size_inches(5.5, 1.0 + 0.35 * len(rows))
    places = range(len(rows))
    axes.errorbar([_percent(r["rate"]) for r in rows], places, xerr=_whiskers(rows), fmt="o", capsize=3, color=COLORS[0])
    axes.set_yticks(places, [str(r["system"]) for r in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("test error (%), 95 % interval")


# Error per round


def rounds_table(story: Story) -> Rows:
    """dev and test of each round; other systems as `reference`, without a round.

    A round has an interval where it is a scored system: pretraining is the baseline, the best round the recipe's.
    """
    recipe = story.summary["recipe"]
    scored = {0: "baseline", **({story.best: recipe} if story.best else {})}
    rows: Rows = []
    for name in ("dev", "test"):
        for row in story.rounds:
            rate = number(row.get(f"asr_{name}"))
            if rate is None:
                continue
            entry = story.systems.get(scored.get(row["round"], ""), {})
            entry = entry.get("dev", {}) if name == "dev" else entry
            same = abs(entry.get("rate", math.inf) - rate) < 1e-4  # else the interval is of another decoding
            low, high = _ends(entry) if same else (None, None)
            rows.append({"kind": "round", "name": name, "round": row["round"], "rate": rate, "low": low, "high": high})
    others = [row for row in systems_table(story) if row["system"] != recipe] if rows else []
    return rows + [
        {"kind": "reference", "name": row["system"], "round": None, **{k: row[k] for k in ("rate", "low", "high")}} for row in others
    ]


def draw_rounds(canvas: Canvas, rows: Rows) -> None:
    axes: Axes = canvas.add_subplot()
    for color, style, name in zip(COLORS, ("o--", "s-"), ("dev", "test"), strict=False):
        line = [r for r in rows if r["kind"] == "round" and r["name"] == name]
        if line:
            values = [_percent(r["rate"]) for r in line]
            axes.errorbar([r["round"] for r in line], values, yerr=_whiskers(line), fmt=style, capsize=3, color=color, label=name)
    for color, row in zip(COLORS[2:] * 2, [r for r in rows if r["kind"] == "reference"], strict=False):
        axes.axhline(_percent(row["rate"]), color=color, linestyle=":", label=f"{row['name']} (test)")
    axes.set_xticks(sorted({int(r["round"]) for r in rows if isinstance(r["round"], int)}))
    _from_zero(axes)
    axes.set_xlabel("round (0 is pretraining)")
    axes.set_ylabel("error (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


# Monitors per round

LABELS = ("kept_share", "kept_error", "rejected_error", "label_error")
VOICES = ("tts_duration_std", "tts_pitch_std", "tts_intelligibility", "synthetic_error")


def monitors_table(story: Story, names: Iterable[str]) -> Rows:
    """The rounds that have any of these monitors."""
    rows: Rows = [{"round": row["round"], **{name: number(row.get(name)) for name in names}} for row in story.rounds]
    return [row for row in rows if any(row[name] is not None for name in names)]


def _draw_monitors(canvas: Canvas, rows: Rows, panels: list[tuple[str, dict[str, str]]]) -> None:
    """One panel for each unit that has numbers: (unit, label by monitor); a unit with a % shows shares in percent."""
    shown = [(unit, {k: v for k, v in names.items() if any(r[k] is not None for r in rows)}) for unit, names in panels]
    shown = [(unit, names) for unit, names in shown if names]
    canvas.set_size_inches(2.4 * len(shown) + 0.6, 2.6)
    for axes, (unit, names) in zip(canvas.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for color, (key, label) in zip(COLORS, names.items(), strict=False):
            points = [(int(r["round"] or 0), 100 * v if "%" in unit else v) for r in rows if (v := number(r[key])) is not None]
            axes.plot(*zip(*points, strict=True), "o-", color=color, label=label)
        axes.set_xticks(sorted({int(r["round"] or 0) for r in rows}))
        _from_zero(axes)
        axes.set_xlabel("round")
        axes.set_ylabel(unit)
        if len(names) > 1:
            axes.legend()


def draw_labels(canvas: Canvas, rows: Rows) -> None:
    errors = {"kept_error": "kept", "rejected_error": "rejected", "label_error": "all"}
    _draw_monitors(canvas, rows, [("token errors (%)", errors), ("share kept (%)", {"kept_share": "kept"})])


def draw_voices(canvas: Canvas, rows: Rows) -> None:
    heard = {"tts_intelligibility": "outside judge", "synthetic_error": "own ASR"}
    spreads = [("std of log-durations", {"tts_duration_std": ""}), ("std of pitch (of the corpus's)", {"tts_pitch_std": ""})]
    _draw_monitors(canvas, rows, [("errors on synthetic speech (%)", heard), *spreads])


# Training losses


def losses_table(story: Story) -> Rows:
    """Every loss at every logged update; `update` counts on through the phases that have it, in their order of appearance."""
    rows: Rows = []
    names = sorted({key for line in story.losses for key in line if "loss" in key.rsplit("/", 1)[-1]})
    for name in names:
        lines = [line for line in story.losses if number(line.get(name)) is not None]
        begin, last, phase = 0, 0, None
        for line in sorted(lines, key=lambda line: (_first(story.losses, line["phase"]), line["step"])):
            if line["phase"] != phase:
                begin, phase = last, line["phase"]
            last = begin + int(line["step"])
            rows.append({"loss": name, "phase": str(phase), "step": int(line["step"]), "update": last, "value": number(line[name])})
    return rows


def _first(lines: list[dict[str, Any]], phase: str) -> int:
    return next(i for i, line in enumerate(lines) if line["phase"] == phase)


def draw_losses(canvas: Canvas, rows: Rows) -> None:
    names = sorted({str(r["loss"]) for r in rows})
    columns = min(3, len(names))
    height = math.ceil(len(names) / columns)
    canvas.set_size_inches(2.4 * columns + 0.6, 1.9 * height + 0.3)
    for axes, name in zip(canvas.subplots(height, columns, squeeze=False).flat, names, strict=False):
        line = [r for r in rows if r["loss"] == name]
        axes.plot([r["update"] for r in line], [r["value"] for r in line], color=COLORS[0])
        for before, after in pairwise(line):
            if before["phase"] != after["phase"]:
                axes.axvline(before["update"], color=COLORS[7], linestyle=":", linewidth=0.8)
        axes.set_title(name, fontsize=8)
        axes.set_xlabel("update")
    for axes in canvas.axes[len(names) :]:
        axes.set_visible(False)


# Errors by length of the utterance


def lengths_table(story: Story, most: int = 8) -> Rows:
    """Rates over utterances of equal length (at most `most` groups of about equal size), with intervals."""
    lengths = sorted(r["ref"] for rows in story.per_utt.values() for r in rows if r["ref"])
    if not lengths:
        return []
    distinct = sorted(set(lengths))
    ends = distinct if len(distinct) <= most else sorted({lengths[(i + 1) * len(lengths) // most - 1] for i in range(most)})
    rows: Rows = []
    for system, utts in story.per_utt.items():
        for low, high in pairwise([0, *ends]):
            group = [r for r in utts if low < r["ref"] <= high]
            if not group:
                continue
            errors, refs = [r["errors"] for r in group], [r["ref"] for r in group]
            ci = interval(errors, refs, 1000)
            span = f"{low + 1}-{high}" if high - low > 1 and len(distinct) > most else str(high)
            row: dict[str, Cell] = {"system": system, "length": span, "utterances": len(group), "errors": sum(errors), "ref": sum(refs)}
            rows.append({**row, "rate": round(sum(errors) / sum(refs), 6), "low": round(ci[0], 6), "high": round(ci[1], 6)})
    return rows


def draw_lengths(canvas: Canvas, rows: Rows) -> None:
    axes: Axes = canvas.add_subplot()
    spans = sorted({str(r["length"]) for r in rows}, key=lambda span: int(span.split("-")[0]))
    names = list(dict.fromkeys(str(r["system"]) for r in rows))
    for i, (color, name) in enumerate(zip(COLORS * 2, names, strict=False)):
        line = [r for r in rows if r["system"] == name]
        places = [spans.index(str(r["length"])) + 0.5 * (i - (len(names) - 1) / 2) / len(names) for r in line]
        axes.errorbar(places, [_percent(r["rate"]) for r in line], yerr=_whiskers(line), fmt="o", capsize=2, color=color, label=name)
    axes.set_xticks(range(len(spans)), spans)
    _from_zero(axes)
    axes.set_xlabel("units in the reference")
    axes.set_ylabel("test error (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


FIGURES = (
    Figure("systems", "Systems", "Test error of each system with its 95 % interval.", systems_table, draw_systems),
    Figure("rounds", "Error per round", "Dev chooses the round, test is only reported; dotted: other systems.", rounds_table, draw_rounds),
    Figure("labels", "Pseudo-labels", "What selection kept and how wrong it is.", lambda s: monitors_table(s, LABELS), draw_labels),
    Figure("voices", "Synthetic speech", "A falling spread is a collapsing voice.", lambda s: monitors_table(s, VOICES), draw_voices),
    Figure("losses", "Training losses", "By update; dotted lines part the phases.", losses_table, draw_losses),
    Figure("lengths", "Errors by length", "Test error by units in the reference, 95 % intervals.", lengths_table, draw_lengths),
)
