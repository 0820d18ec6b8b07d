"""What several figures do with their axes: percent, intervals, panels, legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from cycle.eval.figures import Cell, Rows
from cycle.eval.story import number
from cycle.eval.style import Style

NARROW = 1.55  # inches that a panel wants at least
PAGE = 9.0  # inches that a figure may be high


def percent(value: Any) -> float:
    known = number(value)
    return math.nan if known is None else 100 * known


def scaled(row: dict[str, Cell]) -> float:
    """A row's rate in its unit: by `scale`, or in percent; NaN where it is not known, which is not drawn."""
    rate = number(row["rate"])
    return math.nan if rate is None else _scale(row) * rate


def whiskers(rows: Rows) -> list[list[float]]:
    """How far the interval reaches below and above each rate, in its unit; nothing where it is not known."""
    sides: list[list[float]] = [[], []]
    for row in rows:
        rate, low, high, scale = *(number(row[key]) for key in ("rate", "low", "high")), _scale(row)
        sides[0].append(0.0 if rate is None or low is None else max(0.0, scale * (rate - low)))
        sides[1].append(0.0 if rate is None or high is None else max(0.0, scale * (high - rate)))
    return sides


def _scale(row: dict[str, Cell]) -> float:
    return float(row.get("scale") or 100.0)


def ends(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    """The interval of a system's entry."""
    span = entry.get("ci95")
    if not isinstance(span, Sequence) or len(span) != 2:
        return None, None
    return number(span[0]), number(span[1])


def from_zero(axes: Axes) -> None:
    axes.set_ylim(0, max(1e-9, 1.05 * axes.get_ylim()[1]))


def legend_above(axes: Axes, columns: int = 3) -> None:
    """Names above the picture, where nothing is hidden by them."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(columns, len(handles)),
            columnspacing=1.0,
            borderaxespad=0.2,
        )


def panels(canvas: Canvas, style: Style, count: int, height: float = 1.15) -> list[Axes]:
    """`count` axes, as many side by side as the column holds, the rest below; flatter where they would leave the page."""
    columns = max(1, min(count, int(style.column / NARROW)))
    lines = math.ceil(count / columns)
    canvas.set_size_inches(style.column, min(height * lines + 0.15, PAGE))
    drawn = list(canvas.subplots(lines, columns, squeeze=False).flat)
    for axes in drawn[count:]:
        axes.set_visible(False)
    return drawn[:count]


def short(text: object, most: int = 18) -> str:
    """A name that fits beside an axis."""
    said = plain(str(text))
    return said if len(said) <= most else said[: most - 1] + "…"


def plain(text: str) -> str:
    """Text that is shown as it stands: matplotlib would read dollar signs as mathematics."""
    return text.replace("\\", "\\\\").replace("$", r"\$") if "$" in text else text


def listed(pairs: Sequence[tuple[object, float | None]], unit: str = " %") -> str:
    """ "baseline 26.5 %, cycle 9.5 %": for alternative texts."""
    return ", ".join(f"{name} {value:.1f}{unit}" for name, value in pairs if value is not None and math.isfinite(value))
