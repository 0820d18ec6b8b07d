"""Figures of a report: each is drawn from a table that lies beside it as CSV, and from nothing else.

A new figure is a function from a story to a table, a function that draws the table, and a line in `FIGURES`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.eval.bootstrap import interval
from cycle.eval.story import Story, number
from cycle.files import atomic_write

Cell = str | int | float | None
Rows = list[dict[str, Cell]]  # the same keys in every row: the header of the CSV
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")  # Okabe & Ito (2008): safe for all eyes
CJK = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback")
STYLE = {
    "pdf.fonttype": 42,  # TrueType: editors and publishers refuse Type 3
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "savefig.bbox": "tight",
    "savefig.dpi": 150,
}


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: of its files.
        table: the numbers; no rows when the experiment lacks them.
        draw: puts the table on an empty canvas.
    """

    name: str
    title: str
    caption: str
    table: Callable[[Story], Rows]
    draw: Callable[[Canvas, Rows], None]


def write_all(story: Story, folder: Path) -> list[Figure]:
    """Writes every figure that has numbers as PNG, PDF and CSV; returns those, and notes the others in `story.missing`."""
    made = []
    for figure in FIGURES:
        rows = figure.table(story)
        if rows:
            write(figure, rows, folder)
            made.append(figure)
        else:
            story.missing.append(f"Figure “{figure.title}”: the experiment has no numbers for it.")
    return made


def write(figure: Figure, rows: Rows, folder: Path) -> None:
    """Writes one figure; the same rows give the same bytes."""
    with atomic_write(folder / f"{figure.name}.csv") as handle:
        table = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    with mpl.rc_context({**STYLE, "font.family": ["DejaVu Sans", *_cjk_fonts()]}):
        canvas = Canvas(figsize=(5.5, 3.2), layout="constrained")
        figure.draw(canvas, rows)
        for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None, "Creator": None})):
            with atomic_write(folder / f"{figure.name}.{kind}", "wb") as handle:
                canvas.savefig(handle, format=kind, metadata=metadata)


def _cjk_fonts() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in CJK if name in installed][:1]


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
    """dev and test of each round; other systems as `reference`, without a round."""
    recipe = story.summary["recipe"]
    final = {0: story.systems.get("baseline", {}), **({story.best: story.systems.get(recipe, {})} if story.best is not None else {})}
    rows: Rows = []
    for name in ("dev", "test"):
        for row in story.rounds:
            rate = number(row.get(f"asr_{name}"))
            if rate is None:
                continue
            scored = final.get(row["round"], {})
            entry = (
                {"ci95": row.get(f"asr_{name}_ci95")} if row.get(f"asr_{name}_ci95") else scored.get("dev", {}) if name == "dev" else scored
            )
            low, high = _ends(entry)
            rows.append({"kind": "round", "name": name, "round": row["round"], "rate": rate, "low": low, "high": high})
    if not rows:
        return []
    for system in systems_table(story):
        if system["system"] != recipe:
            rows.append({"kind": "reference", "name": system["system"], "round": None, **{k: system[k] for k in ("rate", "low", "high")}})
    return rows


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
    axes.set_ylim(bottom=0)
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
    """One panel for each unit; the names of shares are given with `%` in the unit and drawn in percent."""
    shown = [(unit, {k: v for k, v in names.items() if any(r[k] is not None for r in rows)}) for unit, names in panels]
    shown = [(unit, names) for unit, names in shown if names]
    canvas.set_size_inches(2.4 * len(shown) + 0.6, 2.6)
    for axes, (unit, names) in zip(canvas.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for color, (key, label) in zip(COLORS, names.items(), strict=False):
            points = [(int(r["round"] or 0), 100 * v if "%" in unit else v) for r in rows if (v := number(r[key])) is not None]
            axes.plot(*zip(*points, strict=True), "o-", color=color, label=label)
        axes.set_xticks(sorted({int(r["round"] or 0) for r in rows}))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("round")
        axes.set_ylabel(unit)
        axes.legend()


def draw_labels(canvas: Canvas, rows: Rows) -> None:
    errors = {"kept_error": "kept", "rejected_error": "rejected", "label_error": "all"}
    _draw_monitors(canvas, rows, [("token errors (%)", errors), ("share (%)", {"kept_share": "kept"})])


def draw_voices(canvas: Canvas, rows: Rows) -> None:
    heard = {"tts_intelligibility": "outside judge", "synthetic_error": "own ASR"}
    panels = [("errors on synthetic speech (%)", heard), ("spread of durations", {"tts_duration_std": "per token"})]
    _draw_monitors(canvas, rows, [*panels, ("spread of pitch", {"tts_pitch_std": "per token"})])


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
    axes.set_ylim(bottom=0)
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
