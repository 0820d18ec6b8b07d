"""What goes wrong: kinds of errors, and where they are: by length, speaker, tone, part of the syllable, confusions."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.data.text import Mandarin
from cycle.eval import story as told
from cycle.eval.bootstrap import interval
from cycle.eval.errors import Step, align
from cycle.eval.figures import Cell, Rows
from cycle.eval.plots.axes import from_zero, legend_above, listed, percent, plain, short, whiskers
from cycle.eval.story import Story
from cycle.eval.style import BLUE, COLORS, GREY, RED, Style
from cycle.eval.syllables import PARTS, Tally, by_part, by_tone, confusions

DRAWS = 1000  # of the bootstrap
MOST = 12  # units of a confusion matrix, speakers of a figure


def pair(story: Story) -> list[str]:
    """The systems that figures of one comparison show: baseline and recipe, where they are scored."""
    return [system for system in dict.fromkeys(("baseline", story.recipe)) if system in story.per_utt]


def aligned(story: Story, system: str, tokens: bool = False) -> list[list[Step]]:
    """Test utterances of a system, unit by unit or token by token."""
    units = list if tokens else story.units
    rows = told.hypotheses(story.exp, system).values()
    return [align(units(row["ref"].split()), units(row["hyp"].split())) for row in rows]


# Substitutions, insertions, deletions

KINDS = {"sub": "replaced", "ins": "inserted", "del": "lost"}


def kinds_table(story: Story) -> Rows | None:
    if not story.counts_errors:
        return None
    rows: Rows = []
    for system, utts in story.per_utt.items():
        ref = sum(r["ref"] for r in utts)
        rows.append({"system": system, **{kind: sum(r[kind] for r in utts) for kind in KINDS}, "ref": ref})
    return [row for row in rows if row["ref"]]


def draw_kinds(canvas: Canvas, rows: Rows, style: Style) -> None:
    axes: Axes = canvas.add_subplot()
    canvas.set_size_inches(style.column, 0.75 + 0.22 * len(rows))
    left = [0.0] * len(rows)
    for color, hatch, (kind, label) in zip((COLORS[1], COLORS[5], COLORS[3]), ("", "///", "..."), KINDS.items(), strict=True):
        widths = [100 * float(r[kind] or 0) / float(r["ref"] or 1) for r in rows]
        axes.barh(range(len(rows)), widths, 0.65, left, color=color, hatch=hatch, edgecolor="white", linewidth=0.4, label=label)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [short(r["system"]) for r in rows])
    axes.invert_yaxis()
    axes.set_xlabel("test errors (% of the reference)")
    legend_above(axes)


def say_kinds(rows: Rows) -> str:
    return " ".join(f"{r['system']}: {r['sub']} replaced, {r['ins']} inserted, {r['del']} lost of {r['ref']}." for r in rows)


# By a property of the utterance


def grouped(story: Story, systems: list[str], name: str, groups: list[str], member: Callable[[dict[str, Any]], str | None]) -> Rows:
    """Rates with intervals over groups of utterances."""
    rows: Rows = []
    for system in systems:
        for group in groups:
            utts = [r for r in story.per_utt[system] if r["ref"] and member(r) == group]
            if not utts:
                continue
            errors, refs = [r["errors"] for r in utts], [r["ref"] for r in utts]
            low, high = interval(errors, refs, DRAWS)
            row: dict[str, Cell] = {"system": system, name: group, "utterances": len(utts), "errors": sum(errors), "ref": sum(refs)}
            rows.append({**row, "rate": round(sum(errors) / sum(refs), 6), "low": round(low, 6), "high": round(high, 6)})
    return rows


def lengths_table(story: Story, most: int = 8) -> Rows | None:
    """Rates over utterances of equal length (at most `most` groups of about equal size), with intervals."""
    if not story.counts_errors:
        return None
    lengths = sorted(r["ref"] for rows in story.per_utt.values() for r in rows if r["ref"])
    if not lengths:
        return []
    distinct = sorted(set(lengths))
    ends = distinct if len(distinct) <= most else sorted({lengths[(i + 1) * len(lengths) // most - 1] for i in range(most)})
    spans = {high: f"{low + 1}-{high}" if high - low > 1 and len(distinct) > most else str(high) for low, high in pairwise([0, *ends])}

    def span(row: dict[str, Any]) -> str | None:
        return next((name for high, name in spans.items() if row["ref"] <= high), None)

    return grouped(story, list(story.per_utt), "length", list(spans.values()), span)


def speakers_table(story: Story) -> Rows | None:
    """The speakers with most reference units; the error of each."""
    if not story.counts_errors:
        return None
    size: dict[str, int] = {}
    for row in next(iter(story.per_utt.values()), []):
        size[row["spk"]] = size.get(row["spk"], 0) + row["ref"]
    chosen = sorted(sorted(size, key=lambda spk: (-size[spk], spk))[:MOST])
    return grouped(story, pair(story), "speaker", chosen, lambda row: str(row["spk"]))


def draw_groups(name: str, label: str) -> Callable[[Canvas, Rows, Style], None]:
    """Points with intervals, the systems of a group beside one another."""

    def draw(canvas: Canvas, rows: Rows, style: Style) -> None:
        axes: Axes = canvas.add_subplot()
        groups = list(dict.fromkeys(str(r[name]) for r in rows))
        if name == "length":
            groups.sort(key=lambda span: int(span.split("-")[0]))
        systems = list(dict.fromkeys(str(r["system"]) for r in rows))
        canvas.set_size_inches(style.column, 1.9 + 0.13 * math.ceil(len(systems) / 3))
        look = zip((GREY, BLUE, *COLORS[2:7]) * 3, "osD^vPX" * 3, systems, strict=False)
        for i, (color, marker, system) in enumerate(look):
            line = [r for r in rows if r["system"] == system]
            places = [groups.index(str(r[name])) + 0.6 * (i - (len(systems) - 1) / 2) / len(systems) for r in line]
            rates = [percent(r["rate"]) for r in line]
            axes.errorbar(places, rates, yerr=whiskers(line), fmt=marker, capsize=1.5, color=color, label=short(system))
        turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, groups)) > 30 else {}
        axes.set_xticks(range(len(groups)), [short(g, 12) for g in groups], **turn)
        from_zero(axes)
        axes.set_xlabel(label)
        axes.set_ylabel("test error (%)")
        legend_above(axes)

    return draw


def say_groups(name: str) -> Callable[[Rows], str]:
    def say(rows: Rows) -> str:
        return listed([(f"{r['system']} at {r[name]}", percent(r["rate"])) for r in rows][:24]) + "."

    return say


# Tones and parts of the syllable: of Mandarin only


def _mandarin(story: Story) -> bool:
    return isinstance(story.language, Mandarin)


def _rate(tally: Tally) -> dict[str, Cell]:
    return {"wrong": tally.wrong, "of": tally.of, "rate": round(tally.wrong / tally.of, 6) if tally.of else None}


def parts_table(story: Story) -> Rows | None:
    if not _mandarin(story):
        return None
    return [
        {"system": system, "part": part, **_rate(tally)}
        for system in pair(story)
        for part, tally in by_part(aligned(story, system)).items()
        if tally.of
    ]


def tones_table(story: Story) -> Rows | None:
    if not _mandarin(story):
        return None
    rows: Rows = []
    for system in pair(story):
        for tone, (whole, only) in by_tone(aligned(story, system)).items():
            rows.append({"system": system, "tone": tone, **_rate(whole), "tone_wrong": only.wrong})
    return rows


def draw_bars(name: str, label: str) -> Callable[[Canvas, Rows, Style], None]:
    """Bars, the systems of a group side by side; where there is `tone_wrong`, a mark for it."""

    def draw(canvas: Canvas, rows: Rows, style: Style) -> None:
        axes: Axes = canvas.add_subplot()
        canvas.set_size_inches(style.column, 1.8)
        groups = [g for g in (PARTS if name == "part" else "12345") if any(r[name] == g for r in rows)]
        systems = list(dict.fromkeys(str(r["system"]) for r in rows))
        width = 0.8 / len(systems)
        for i, (color, system) in enumerate(zip((GREY, BLUE), systems, strict=False)):
            line = [next((r for r in rows if r["system"] == system and r[name] == g), None) for g in groups]
            places = [j + width * (i - (len(systems) - 1) / 2) for j in range(len(groups))]
            axes.bar(places, [percent(r and r["rate"]) for r in line], 0.92 * width, color=color, label=short(system))
            if "tone_wrong" in rows[0]:
                only = [100 * float(r["tone_wrong"] or 0) / float(r["of"] or 1) if r else math.nan for r in line]
                axes.plot(places, only, "_", color=RED, markersize=7, markeredgewidth=1.5, label="tone wrong" if i == 0 else None)
        names = {"5": "neutral"} if name == "tone" else {}
        axes.set_xticks(range(len(groups)), [names.get(g, g) for g in groups])
        axes.set_xlabel(label)
        axes.set_ylabel("wrong (%)")
        axes.grid(axis="x", visible=False)
        legend_above(axes)

    return draw


# Confusions


def confusions_table(story: Story) -> Rows | None:
    """The recipe's most confused tokens (or the last system's there is)."""
    if not story.counts_errors:
        return None
    systems = pair(story)
    if not systems:
        return []
    refs, hyps, counts = confusions(aligned(story, systems[-1], tokens=True), MOST)
    return [{"system": systems[-1], "ref": ref, "hyp": hyp or "(lost)", "count": counts.get((ref, hyp), 0)} for ref in refs for hyp in hyps]


def draw_confusions(canvas: Canvas, rows: Rows, style: Style) -> None:
    refs, hyps = (list(dict.fromkeys(str(r[side]) for r in rows)) for side in ("ref", "hyp"))
    counts = np.array([int(r["count"] or 0) for r in rows]).reshape(len(refs), len(hyps))
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    canvas.set_size_inches(style.column, 0.75 + 0.17 * len(refs))
    axes: Axes = canvas.add_subplot()
    axes.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap="Blues", interpolation="nearest")
    for i, j in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[i, j] > 0.6 else "black"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=style.small - 1.5, color=color)
    axes.set_xticks(range(len(hyps)), [plain(h) for h in hyps], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(refs)), [plain(r) for r in refs])
    axes.tick_params(labelsize=style.small - 0.5, length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("heard")
    axes.set_ylabel("said")


def say_confusions(rows: Rows) -> str:
    wrong = sorted((r for r in rows if r["ref"] != r["hyp"] and r["count"]), key=lambda r: -int(r["count"] or 0))[:8]
    return (
        "Most frequent, said as heard: " + ", ".join(f"{r['ref']} as {r['hyp']} {r['count']} times" for r in wrong) + "." if wrong else ""
    )
