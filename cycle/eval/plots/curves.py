"""Curves: the systems, error round by round, every loss and metric step by step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.eval.figures import Rows
from cycle.eval.plots.axes import ends, from_zero, legend_above, listed, panels, scaled, short, whiskers
from cycle.eval.story import Story, number, score_of
from cycle.eval.style import BLUE, COLORS, GREY, RED, Style


def unit_of(story: Story) -> tuple[str, float]:
    """What a score is called on an axis, and by what it is multiplied there."""
    return ("error (%)", 100.0) if story.counts_errors else (str(story.summary["metric"]).replace("_", " "), 1.0)


def sign_of(rows: Rows) -> str:
    """What stands behind a number of these rows in a sentence."""
    return " %" if all(str(row["unit"]).endswith("(%)") for row in rows) else ""


# Systems


def systems_table(story: Story) -> Rows:
    unit, scale = unit_of(story)
    rows: Rows = []
    for system, entry in story.systems.items():
        low, high = ends(entry)
        rows.append({"system": system, "rate": score_of(entry), "low": low, "high": high, "unit": unit, "scale": scale})
    return rows


def draw_systems(canvas: Canvas, rows: Rows, style: Style) -> None:
    axes: Axes = canvas.add_subplot()
    canvas.set_size_inches(style.column, 0.55 + 0.24 * len(rows))
    for place, row in enumerate(rows):
        color = GREY if place == 0 else BLUE if place == 1 else COLORS[2]
        value = scaled(row)
        axes.errorbar([value], [place], xerr=whiskers([row]), fmt="o", capsize=2.5, color=color)
        if math.isfinite(value):
            axes.annotate(f"{value:.1f}", (value, place), (0, 4), textcoords="offset points", ha="center", fontsize=style.small)
    axes.set_yticks(range(len(rows)), [short(r["system"]) for r in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"test {rows[0]['unit']}, 95 % interval")


def say_systems(rows: Rows) -> str:
    return listed([(r["system"], scaled(r)) for r in rows], sign_of(rows)) + "."


# Error per round


def rounds_table(story: Story) -> Rows:
    """dev and test of each round; other systems as `reference`, without a round.

    A round has an interval where it is a scored system: pretraining is the baseline, the best round the recipe's.
    """
    scored = {0: "baseline", **({story.best: story.recipe} if story.best else {})}
    unit, scale = unit_of(story)
    rows: Rows = []
    for name in ("dev", "test"):
        for row in story.rounds:
            rate = number(row.get(f"asr_{name}"))
            if rate is None:
                continue
            entry = story.systems.get(scored.get(row["round"], ""), {})
            entry = entry.get("dev", {}) if name == "dev" else entry
            known = score_of(entry)
            same = known is not None and abs(known - rate) < 1e-4  # else the interval is of another decoding
            low, high = ends(entry) if same else (None, None)
            rows.append({"kind": "round", "name": name, "round": row["round"], "rate": rate, "low": low, "high": high, "unit": unit,
                         "scale": scale})  # fmt: skip
    others = [row for row in systems_table(story) if row["system"] != story.recipe] if rows else []
    return rows + [
        {"kind": "reference", "name": row["system"], "round": None, **{k: row[k] for k in ("rate", "low", "high", "unit", "scale")}}
        for row in others
    ]


def draw_rounds(canvas: Canvas, rows: Rows, style: Style) -> None:
    axes: Axes = canvas.add_subplot()
    references = [r for r in rows if r["kind"] == "reference"]
    canvas.set_size_inches(style.column, 2.0 + 0.13 * math.ceil((len(references) + 2) / 3))
    for color, form, name in ((GREY, "o--", "dev"), (BLUE, "s-", "test")):
        line = [r for r in rows if r["kind"] == "round" and r["name"] == name]
        if line:
            values = [scaled(r) for r in line]
            axes.errorbar([r["round"] for r in line], values, yerr=whiskers(line), fmt=form, capsize=2, color=color, label=name)
    for row, color, dash in zip(references, (RED, *COLORS[2:7]) * 2, (":", "-.", "--", (0, (5, 1))) * 3, strict=False):
        axes.axhline(scaled(row), color=color, linestyle=dash, linewidth=0.9, label=short(row["name"]))
    axes.set_xticks(sorted({int(r["round"]) for r in rows if isinstance(r["round"], int)}))
    from_zero(axes)
    axes.set_xlabel("round (0 is pretraining)")
    axes.set_ylabel(str(rows[0]["unit"]))
    legend_above(axes)


def say_rounds(rows: Rows) -> str:
    parts = [(f"round {r['round']} {r['name']}", scaled(r)) for r in rows if r["kind"] == "round"]
    return listed(parts, sign_of(rows)) + "." if parts else ""


# Every loss and metric


def is_loss(name: str) -> bool:
    return "loss" in name.rsplit("/", 1)[-1]


def training_table(story: Story, losses: bool) -> Rows:
    """Every loss, or every other metric, at every logged update; `update` counts on through the phases that have it, in their order."""
    rows: Rows = []
    names = sorted({key for line in story.losses for key in line if "/" in key and is_loss(key) == losses})
    order = {phase: i for i, phase in reversed(list(enumerate(str(line["phase"]) for line in story.losses)))}
    for name in names:
        lines = [line for line in story.losses if number(line.get(name)) is not None]
        begin, last, phase = 0, 0, None
        for line in sorted(lines, key=lambda line: (order[str(line["phase"])], line["step"])):
            if line["phase"] != phase:
                begin, phase = last, line["phase"]
            last = begin + int(line["step"])
            rows.append({"name": name, "phase": str(phase), "step": int(line["step"]), "update": last, "value": number(line[name])})
    return rows


def draw_training(canvas: Canvas, rows: Rows, style: Style) -> None:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row["name"]), []).append(row)
    for axes, (name, line) in zip(panels(canvas, style, len(by_name), 0.95), by_name.items(), strict=True):
        model = "tts" if name.startswith("tts") or name.endswith("/tts") else "asr"
        single = len(line) == 1
        axes.plot([r["update"] for r in line], [r["value"] for r in line], "o" if single else "-", color=RED if model == "tts" else BLUE)
        for before, after in pairwise(line):
            if before["phase"] != after["phase"]:
                axes.axvline(before["update"], color=GREY, linestyle=":", linewidth=0.8)
        axes.set_title(short(name, 26), fontsize=style.small)
        axes.tick_params(labelsize=style.small - 1)
        axes.margins(x=0.02)


def say_training(rows: Rows) -> str:
    names = list(dict.fromkeys(str(r["name"]) for r in rows))
    last = {str(r["name"]): number(r["value"]) for r in rows}
    return "Last values: " + ", ".join(f"{name} {last[name]:.3g}" for name in names if last[name] is not None) + "."
