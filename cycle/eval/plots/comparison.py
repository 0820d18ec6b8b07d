"""Several experiments: their systems with intervals, who beats whom, and error over the amount of paired data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.eval import history
from cycle.eval.bootstrap import paired_p
from cycle.eval.figures import Cell, Rows
from cycle.eval.plots.axes import ends, from_zero, legend_above, listed, scaled, short, whiskers
from cycle.eval.plots.curves import sign_of, systems_table, unit_of
from cycle.eval.story import Story, score_of
from cycle.eval.style import COLORS, GREY, Style
from cycle.eval.tables import p_value

RESAMPLES = 10_000
HATCHES = ("", "///", "...", "xxx", "---")


@dataclass(frozen=True)
class Told:
    """An experiment of a comparison, under a name that no other one has."""

    name: str
    story: Story


def named(stories: list[Story]) -> list[Told]:
    """The shortest ends of their paths that tell the experiments apart."""
    paths = [story.exp.root.resolve().parts for story in stories]
    for depth in range(1, 1 + max(map(len, paths), default=1)):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return [Told(*pair) for pair in zip(names, stories, strict=True)]
    return [Told(f"{i}: {'/'.join(parts[-1:])}", story) for i, (parts, story) in enumerate(zip(paths, stories, strict=True), 1)]


def compared_table(told: list[Told]) -> Rows:
    """Every system of every experiment."""
    return [{"experiment": one.name, **row} for one in told for row in systems_table(one.story)]


def _unit(rows: Rows) -> str:
    """What the scores are called, if they all are called so."""
    units = {str(row["unit"]) for row in rows}
    return units.pop() if len(units) == 1 else "score"


def draw_compared(canvas: Canvas, rows: Rows, style: Style) -> None:
    """A group of bars for each experiment, a system in the same colour and hatching in all of them."""
    axes: Axes = canvas.add_subplot()
    groups = list(dict.fromkeys(str(r["experiment"]) for r in rows))
    others = [s for s in dict.fromkeys(str(r["system"]) for r in rows) if s != "baseline"]
    canvas.set_size_inches(style.column, 0.8 + 0.15 * len(rows) + 0.2 * len(groups))
    place, ticks = 0.0, []
    for group in groups:
        axes.text(0.01, place, short(group, 40), transform=axes.get_yaxis_transform(), va="center", fontsize=style.small)
        for row in (r for r in rows if r["experiment"] == group):
            place += 1
            ticks.append((place, short(row["system"], 16)))
            index = others.index(str(row["system"])) if row["system"] != "baseline" else -1
            look = {"color": COLORS[index % 6] if index >= 0 else GREY, "hatch": HATCHES[index % 5] if index >= 0 else ""}
            value, reach = scaled(row), whiskers([row])
            axes.barh(place, value, 0.85, edgecolor="white", linewidth=0.4, **look)
            axes.errorbar([value], [place], xerr=reach, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
        place += 1.4
    axes.set_yticks(*zip(*ticks, strict=True), fontsize=style.small - 1)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"test {_unit(rows)}, 95 % interval")


def say_compared(rows: Rows) -> str:
    return listed([(f"{r['experiment']} {r['system']}", scaled(r)) for r in rows], sign_of(rows)) + "."


def bootstrap_table(told: list[Told]) -> Rows:
    """Each experiment's own system against each other's, on the same utterances: difference of the rates and two-sided p-value."""
    scored = {one.name: {r["utt"]: (r["errors"], r["ref"]) for r in one.story.per_utt.get(one.story.recipe, [])} for one in told}
    scored = {name: utts for name, utts in scored.items() if utts}
    rows: Rows = []
    for a, b in permutations(scored, 2):
        ours, theirs = scored[a], scored[b]
        utts = sorted(ours)
        same = {u: ref for u, (_, ref) in ours.items()} == {u: ref for u, (_, ref) in theirs.items()}
        row: dict[str, str | int | float | None] = {"system": a, "against": b, "difference": None, "p": None, "utterances": 0}
        if same:
            refs = [ours[u][1] for u in utts]
            left, right = ([side[u][0] for u in utts] for side in (ours, theirs))
            gap = (sum(left) - sum(right)) / sum(refs)
            row |= {"difference": round(gap, 6), "p": round(paired_p(left, right, refs, RESAMPLES), 6), "utterances": len(utts)}
        rows.append(row)
    return rows


def draw_bootstrap(canvas: Canvas, rows: Rows, style: Style) -> None:
    names = list(dict.fromkeys(str(r["system"]) for r in rows))
    canvas.set_size_inches(style.column, 0.9 + 0.42 * len(names))
    axes: Axes = canvas.add_subplot()
    values = np.full((len(names), len(names)), np.nan)
    for row in rows:
        i, j = names.index(str(row["system"])), names.index(str(row["against"]))
        if row["difference"] is not None:
            values[i, j] = 100 * float(row["difference"])
            said = f"{values[i, j]:+.1f}\np {p_value(float(row['p'] or 0))}".replace("p <", "p < ")
        else:
            said = "other\nutterances"
        axes.text(j, i, said, ha="center", va="center", fontsize=style.small - 0.5)
    reach = max(1e-9, float(np.nanmax(np.abs(values), initial=0.0)))
    axes.imshow(values, cmap="PuOr_r", vmin=-2 * reach, vmax=2 * reach, aspect="auto")
    axes.set_xticks(range(len(names)), [short(n, 16) for n in names], rotation=20, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [short(n, 16) for n in names])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("difference to (points of error; below 0: fewer errors)")


def say_bootstrap(rows: Rows) -> str:
    known = [r for r in rows if r["difference"] is not None]
    return " ".join(
        f"{r['system']} against {r['against']}: {100 * float(r['difference'] or 0):+.1f} points, p {p_value(float(r['p'] or 0))}."
        for r in known
    )


def amounts_table(told: list[Told]) -> Rows:
    """Error over the number of pairs: baseline, recipe, and controls of more than one experiment; nothing where all have as many pairs."""
    rows: Rows = []
    seen = Counter((one.story.summary["corpus"], system) for one in told for system in one.story.systems)
    for one in told:
        pairs = next((pool for pool in history.pools(one.story) if pool.name == "paired"), None)
        for system, entry in one.story.systems.items():
            corpus = one.story.summary["corpus"]
            if pairs and (system in ("baseline", one.story.recipe) or seen[corpus, system] > 1):
                low, high = ends(entry)
                name = f"{corpus} {system}"
                size: dict[str, Cell] = {"pairs": pairs.utterances, "hours": pairs.hours}
                unit, scale = unit_of(one.story)
                rows.append({"curve": name, "experiment": one.name, **size, "rate": score_of(entry), "low": low, "high": high,
                             "unit": unit, "scale": scale})  # fmt: skip
    return rows if len({row["pairs"] for row in rows}) > 1 else []


def draw_amounts(canvas: Canvas, rows: Rows, style: Style) -> None:
    axes: Axes = canvas.add_subplot()
    canvas.set_size_inches(style.column, 2.2)
    curves = list(dict.fromkeys(str(r["curve"]) for r in rows))
    for i, curve in enumerate(curves):
        line = sorted((r for r in rows if r["curve"] == curve), key=lambda r: int(r["pairs"] or 0))
        color = GREY if curve.endswith(" baseline") else COLORS[i % 7]
        axes.errorbar(
            [r["pairs"] for r in line], [scaled(r) for r in line], yerr=whiskers(line),
            fmt="osD^vPX"[i % 7] + "-", capsize=2, color=color, label=short(curve, 24),
        )  # fmt: skip
    axes.set_xscale("log")
    ticks = sorted({int(r["pairs"] or 0) for r in rows})
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    from_zero(axes)
    axes.set_xlabel("pairs of speech and text")
    axes.set_ylabel(f"test {_unit(rows)}")
    legend_above(axes, 2)


def say_amounts(rows: Rows) -> str:
    return listed([(f"{r['curve']} with {r['pairs']} pairs", scaled(r)) for r in rows], sign_of(rows)) + "."
