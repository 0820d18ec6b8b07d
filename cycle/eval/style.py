"""How figures look, by venue: column width, font, sizes. Every figure fits one column, so it can stand anywhere in a paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Okabe & Ito (2008): safe for all eyes. Told apart in grey too where lines also differ in marker or dash.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
SEQUENTIAL = "cividis"  # perceptually uniform, made for colour-blind readers (Nuñez, Anderton & Renslow 2018)
BLUE, RED, GREY = COLORS[0], COLORS[1], COLORS[7]


@dataclass(frozen=True)
class Style:
    """One venue's figures.

    Attributes:
        column: inches that a figure may be wide.
        size: of the text in points, as printed.
        fonts: families in order; TrueType and shipped with matplotlib.
    """

    name: str
    column: float
    size: float
    fonts: tuple[str, ...]

    @property
    def small(self) -> float:
        return self.size - 1

    def parameters(self, han: str | None) -> dict[str, Any]:
        """matplotlib's settings.

        Args:
            han: a further family for the characters that the others lack.
        """
        return {
            "font.family": [*self.fonts, *([han] if han else [])],
            "font.size": self.size,
            "axes.titlesize": self.size,
            "axes.labelsize": self.size,
            "xtick.labelsize": self.small,
            "ytick.labelsize": self.small,
            "legend.fontsize": self.small,
            "mathtext.fontset": "stix" if "STIXGeneral" in self.fonts else "dejavusans",
            "pdf.fonttype": 42,  # TrueType: editors and publishers refuse Type 3
            "svg.fonttype": "path",  # shows alike on every machine
            "svg.hashsalt": "cycle",  # else identifiers are drawn by chance
            "image.cmap": SEQUENTIAL,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.alpha": 0.3,
            "grid.linewidth": 0.5,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "lines.linewidth": 1.2,
            "lines.markersize": 3.5,
            "legend.frameon": False,
            "legend.handlelength": 1.5,
            "savefig.dpi": 300,
            "figure.dpi": 300,  # at which text is measured when a figure is laid out
        }


SERIF = ("STIXGeneral", "DejaVu Serif")  # Times's metrics
STYLES = {
    "plain": Style("plain", 3.25, 7.0, ("DejaVu Sans",)),
    "icml": Style("icml", 3.25, 8.0, SERIF),  # two columns of 3.25 in
    "neurips": Style("neurips", 5.5, 8.0, SERIF),  # one column of 5.5 in
    "acl": Style("acl", 3.03, 8.0, SERIF),  # two columns of 7.7 cm
}
