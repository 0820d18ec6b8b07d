"""Figures of a report: each is drawn from a table that lies beside it as CSV, and from nothing else.

The figures themselves are in `cycle.eval.plots`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure as Canvas

from cycle.eval.story import Story
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
    "savefig.dpi": 150,
}
KINDS: dict[str, dict[str, None]] = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}


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


def write_all(figures: Iterable[Figure], story: Story, folder: Path) -> list[Figure]:
    """Writes every figure that has numbers as PNG, PDF and CSV; returns those, and notes the others in `story.missing`."""
    made = []
    for figure in figures:
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
        for kind, metadata in KINDS.items():
            with atomic_write(folder / f"{figure.name}.{kind}", "wb") as handle:
                canvas.savefig(handle, format=kind, metadata=metadata)


def _cjk_fonts() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in CJK if name in installed][:1]
