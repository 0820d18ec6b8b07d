"""What each round repaired and what it broke."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.eval import story as told
from cycle.eval.figures import Rows
from cycle.eval.plots.axes import legend_above
from cycle.eval.story import Story
from cycle.eval.style import COLORS, RED, Style
from cycle.eval.syllables import repairs


def changes_table(story: Story) -> Rows | None:
    """Units of the test references, against the round before; the last row is the scored system against the baseline."""
    if not story.counts_errors:
        return None
    rounds = {row["round"]: told.round_hypotheses(story, row["round"]) for row in story.rounds}
    known = [number for number, hyps in rounds.items() if hyps]
    rows: Rows = []
    for before, after in pairwise(known):
        rows.append({"from": before, "to": after, **_count(story, rounds[before], rounds[after])})
    if story.best and story.best > 1 and len(rows) > 1 and rounds.get(0) and rounds.get(story.best):
        rows.append({"from": 0, "to": story.best, **_count(story, rounds[0], rounds[story.best])})
    return rows


def _count(story: Story, before: dict[str, told.Row], after: dict[str, told.Row]) -> dict[str, str | int | float | None]:
    total, refs = [0, 0, 0], 0
    for utt in sorted(before.keys() & after.keys()):
        ref = story.units(before[utt]["ref"].split())
        refs += len(ref)
        counts = repairs(ref, story.units(before[utt]["hyp"].split()), story.units(after[utt]["hyp"].split()))
        total = [a + b for a, b in zip(total, counts, strict=True)]
    return {"repaired": total[0], "broken": total[1], "still_wrong": total[2], "ref": refs}


def draw_changes(canvas: Canvas, rows: Rows, style: Style) -> None:
    axes: Axes = canvas.add_subplot()
    canvas.set_size_inches(style.column, 0.75 + 0.26 * len(rows))
    for i, row in enumerate(rows):
        share = 100 / max(1, int(row["ref"] or 0))
        up, down = int(row["repaired"] or 0), int(row["broken"] or 0)
        axes.barh(i, share * up, 0.65, color=COLORS[2], label="repaired" if i == 0 else None)
        axes.barh(i, -share * down, 0.65, color=RED, hatch="///", edgecolor="white", linewidth=0.4, label="broken" if i == 0 else None)
        for count, side in ((up, 1), (down, -1)):
            place = (side * share * count, i)
            axes.annotate(f" {count} ", place, ha="left" if side > 0 else "right", va="center", fontsize=style.small, annotation_clip=False)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(rows)), [f"{r['from']} → {r['to']}" for r in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_ylabel("round")
    axes.set_xlabel("units of the test references (%)")
    legend_above(axes)


def say_changes(rows: Rows) -> str:
    return " ".join(f"From round {r['from']} to {r['to']}: {r['repaired']} repaired, {r['broken']} broken." for r in rows)
