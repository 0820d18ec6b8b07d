"""Tables as plain text and as Markdown, and how numbers look in them."""

from __future__ import annotations

from collections.abc import Sequence

from cycle.eval.align_text import pad, width

NONE = "-"
Cells = Sequence[Sequence[str]]


def percent(share: float | None, digits: int = 1) -> str:
    """0.2647 is 26.5."""
    return NONE if share is None else f"{100 * share:.{digits}f}"


def signed_percent(share: float | None) -> str:
    """0.41 is +41.0."""
    return NONE if share is None else f"{100 * share:+.1f}"


def span(ci95: Sequence[float] | None) -> str:
    """An interval in percent."""
    return NONE if not ci95 else f"{percent(ci95[0])} to {percent(ci95[1])}"


def p_value(p: float | None) -> str:
    return NONE if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def plain(header: Sequence[str], rows: Cells, left: int = 1) -> str:
    """A table for a terminal: the first `left` columns flush left, the numbers behind them flush right."""
    widths = [max(width(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = ["-" * columns for columns in widths]
    text = ["  ".join(pad(cell, widths[i], right=i >= left) for i, cell in enumerate(row)).rstrip() for row in (header, rule, *rows)]
    return "\n".join(text) + "\n"


def markdown(header: Sequence[str], rows: Cells, left: int = 1) -> str:
    """The same for a README."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (escaped[0], rule, *escaped[1:]))
