"""Figures of a report: each is drawn from a table that lies beside it as CSV, and from nothing else.

The figures themselves are in `cycle.eval.plots`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cycle.eval import fonts
from cycle.eval.story import UNREADABLE, Story, reason
from cycle.eval.style import Style
from cycle.files import atomic_write

Cell = str | int | float | None
Rows = list[dict[str, Cell]]  # the same keys in every row: the header of the CSV
KINDS: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: of its files.
        section: of the page.
        table: the numbers; no rows where the experiment lacks them, None where the figure has no meaning for it (tones in English).
        draw: puts the table on an empty canvas as wide as a column.
        says: the numbers in a sentence, for those who cannot see the picture.
    """

    name: str
    section: str
    title: str
    caption: str
    table: Callable[[Story], Rows | None]
    draw: Callable[[Canvas, Rows, Style], None]
    says: Callable[[Rows], str] = lambda rows: ""


@dataclass(frozen=True)
class Drawn:
    """A figure that was made."""

    figure: Figure
    rows: Rows

    @property
    def alt(self) -> str:
        said = self.figure.says(self.rows)
        return f"{self.figure.title}. {self.figure.caption}" + (f" {said}" if said else "")


def write_all(figures: Iterable[Figure], story: Story, folder: Path, style: Style) -> list[Drawn]:
    """Writes every figure that has numbers; returns those, and notes the others in `story.missing`."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Drawn] = []
    lacking: list[str] = []
    for figure in figures:
        before = len(story.missing)
        rows = story.attempt(f"Figure “{figure.title}”", figure.table, story)
        if rows:
            try:
                write(figure, rows, folder, style)
            except UNREADABLE as error:
                story.lacks(f"Figure “{figure.title}”: cannot be drawn, {reason(error)}.")
                continue
            made.append(Drawn(figure, rows))
        elif rows is not None and len(story.missing) == before:
            lacking.append(f"“{figure.title}”")
    if lacking:
        story.lacks(f"Figures that the experiment has no numbers for: {', '.join(lacking)}.")
    return made


def write(figure: Figure, rows: Rows, folder: Path, style: Style) -> None:
    """Writes one figure as PDF, SVG and CSV; the same rows give the same bytes."""
    with atomic_write(folder / f"{figure.name}.csv") as handle:
        table = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    han = fonts.family(fonts.wide(value for row in rows for value in row.values() if isinstance(value, str)))
    with mpl.rc_context(style.parameters(han)), fonts.without_layout():
        canvas = Canvas(figsize=(style.column, 0.62 * style.column))
        figure.draw(canvas, rows, style)
        if any(axes.get_subplotspec() for axes in canvas.axes):
            ConstrainedLayoutEngine().execute(canvas)  # once; as the canvas's own it would begin anew for each kind
        for kind, metadata in KINDS.items():
            with atomic_write(folder / f"{figure.name}.{kind}", "wb") as handle:
                canvas.savefig(handle, format=kind, metadata=metadata)
