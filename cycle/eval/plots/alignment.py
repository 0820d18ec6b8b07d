"""One recording across the rounds: forced alignment over the spectrogram, CTC posteriors, attention, and the synthesiser's rhythm."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from cycle.eval.figures import Cell, Rows
from cycle.eval.plots.axes import plain
from cycle.eval.samples import Array, Sample
from cycle.eval.story import Story
from cycle.eval.style import RED, Style

BANDS = 40  # of the spectrograms shown: mel bands are averaged in pairs
ROUNDS = 3  # side by side
CROWD = 24  # more tokens than that cannot be read beside each other
LABELS = 15  # beside a picture
PICTURES = ("recording", "posterior", "attention", "synthetic")
SPANS = {"recording": "alignment", "synthetic": "duration"}
NAMES = {
    "recording": "recording,\nforced\nalignment",
    "posterior": "CTC\nposteriors",
    "attention": "decoder\nattention",
    "synthetic": "synthetic,\ndurations",
}


def closeup_table(number: int) -> Callable[[Story], Rows | None]:
    """The n-th test sample as rows: pictures cell by cell, spans token by token; times in seconds."""

    def table(story: Story) -> Rows | None:
        found = [s for s in story.samples if s.kind == "test"]
        if number > len(found):
            return None
        sample = found[number - 1]
        frame = story.exp.config.features.hop / story.exp.config.features.fs
        return list(_rows(sample, frame))

    return table


def _rows(sample: Sample, frame: float) -> Iterator[dict[str, Cell]]:
    yield _cell("text", None, 0, sample.text or sample.tokens, 0.0, 0.0, None)
    tokens = [*sample.tokens.split(), "(end)"]
    picked = sample.views if len(sample.views) <= ROUNDS else [sample.views[0], *sample.views[-2:]]
    for view in picked:
        yield _cell("hypothesis", view.round, 0, view.hyp, 0.0, 0.0, None)
        if sample.feats is not None:
            yield from _picture("recording", view.round, _bands(sample.feats), [""] * BANDS, frame)
        if view.posteriors is not None and view.second:
            yield from _picture("posterior", view.round, view.posteriors, view.labels, 1 / view.second)
        if view.attention is not None and view.second:
            yield from _picture("attention", view.round, view.attention, tokens, 1 / view.second)
        if view.path is not None and view.second:
            yield from _alignment(view.round, view.path, tokens, 1 / view.second)
        if view.spoken is not None:
            yield from _picture("synthetic", view.round, _bands(view.spoken), [""] * BANDS, frame)
        if view.durations is not None:
            ends = np.cumsum(view.durations) * frame
            for i, (token, end, frames) in enumerate(zip([*view.said.split(), "(end)"], ends, view.durations, strict=False)):
                yield _cell("duration", view.round, i, token, end - frames * frame, end, None)


def _cell(kind: str, round_: int | None, index: int, label: str, start: float, end: float, value: float | None) -> dict[str, Cell]:
    shown = None if value is None else round(float(value), 3)
    return {"kind": kind, "round": round_, "index": index, "label": label, "start": round(float(start), 4), "end": round(float(end), 4),
            "value": shown}  # fmt: skip


def _picture(kind: str, round_: int, values: Array, labels: list[str], step: float) -> Iterator[dict[str, Cell]]:
    for i, (label, line) in enumerate(zip(labels, values, strict=True)):
        for t, value in enumerate(line):
            yield _cell(kind, round_, i, label, t * step, (t + 1) * step, value)


def _bands(feats: Array) -> Array:
    """(T, M) features to (BANDS, T), neighbouring bands averaged."""
    edges = np.linspace(0, feats.shape[1], BANDS + 1).round().astype(int)
    return np.stack([feats[:, a:b].mean(1) for a, b in pairwise(edges.tolist())])


def _alignment(round_: int, path: Array, tokens: list[str], step: float) -> Iterator[dict[str, Cell]]:
    """The stretch of each token in a forced alignment."""
    for i, token in enumerate(tokens[:-1]):
        places = np.flatnonzero(path == 2 * i + 1)
        if len(places):
            yield _cell("alignment", round_, i, token, places[0] * step, (places[-1] + 1) * step, None)


def draw_closeup(canvas: Canvas, rows: Rows, style: Style) -> None:
    """A column for each round, a line for each picture."""
    rounds = sorted({int(r["round"]) for r in rows if r["round"] is not None})
    kinds = [kind for kind in PICTURES if any(r["kind"] == kind for r in rows)]
    canvas.set_size_inches(style.column, 0.35 + 0.86 * len(kinds))
    grid = canvas.subplots(len(kinds), len(rounds), squeeze=False)
    heard = {r["round"]: str(r["label"]) for r in rows if r["kind"] == "hypothesis"}
    parts: defaultdict[tuple[Cell, Cell], Rows] = defaultdict(list)
    for row in rows:
        parts[row["kind"], row["round"]].append(row)
    for i, kind in enumerate(kinds):
        for j, number in enumerate(rounds):
            axes: Axes = grid[i][j]
            _show(axes, parts[kind, number], kind, style)
            if kind in SPANS:
                _spans(axes, parts[SPANS[kind], number], style)
            if i == 0:
                axes.set_title(
                    _title(number, heard.get(number, ""), int(19 * style.column / len(rounds))), fontsize=style.small - 1, linespacing=1.2
                )
            if j == 0:
                axes.set_ylabel(NAMES[kind], fontsize=style.small - 0.5)
            else:
                axes.set_yticklabels([])
    text = next((str(r["label"]) for r in rows if r["kind"] == "text"), "")
    canvas.suptitle(plain(_fold(text, 60)), fontsize=style.size)
    canvas.supxlabel("seconds", fontsize=style.small)


def _title(number: int, heard: str, width: int) -> str:
    return f"round {number}, hears:\n{plain(_fold(heard, width)) or '(nothing)'}"


def _fold(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))


def _show(axes: Axes, cells: Rows, kind: str, style: Style) -> None:
    """A picture as it stands in the table."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=style.small - 2, length=2, pad=1)
    if not cells:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes, fontsize=style.small)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    values = grid_of(cells)
    scale = (float(np.quantile(values, 0.05)) if kind in SPANS else 0.0, 1.0 if kind == "posterior" else float(values.max()))
    colors = "Greys" if kind in SPANS else "cividis"
    extent = (0.0, float(cells[-1]["end"] or 1), -0.5, len(values) - 0.5)
    axes.imshow(values, origin="lower", aspect="auto", extent=extent, vmin=scale[0], vmax=scale[1], cmap=colors, interpolation="nearest")
    labels = [str(r["label"]) for r in cells if r["start"] == cells[0]["start"]]
    if any(labels):
        shown = range(0, len(labels), math.ceil(len(labels) / LABELS))
        axes.set_yticks(shown, [plain(labels[i]) for i in shown], fontsize=max(3.0, min(style.small - 2, 46 / len(shown))))
    else:
        axes.set_yticks([])


def grid_of(cells: Rows) -> NDArray[np.float64]:
    """The picture whose cells are rows of a table."""
    height = 1 + max(int(r["index"] or 0) for r in cells)
    return np.array([float(r["value"] if r["value"] is not None else np.nan) for r in cells]).reshape(height, -1)


def _spans(axes: Axes, spans: Rows, style: Style) -> None:
    """Where each token begins and ends; where there are many, thin lines through which the picture can be seen."""
    few = len(spans) <= CROWD
    fine = min(1.0, CROWD / max(1, len(spans)))
    edges = [(float(row["start"] or 0), float(row["end"] or 0)) for row in spans]
    lines = [[(x, 0.0), (x, 1.0)] for pair in edges for x in (pair if few else pair[:1])]
    look: dict[str, Any] = {"colors": RED, "linewidths": 0.4 * max(0.5, fine), "alpha": 0.9 * fine}
    # One artist, not hundreds; it leaves the limits where the picture has them.
    axes.add_collection(LineCollection(lines, transform=axes.get_xaxis_transform(), **look), autolim=False)
    for row, (start, end) in zip(spans, edges, strict=True):
        if end > start and few:
            axes.text(
                (start + end) / 2, BANDS * 0.97, plain(str(row["label"])), rotation=90, ha="center", va="top", fontsize=style.small - 2.5,
                color=RED, clip_on=True,
            )  # fmt: skip


def say_closeup(rows: Rows) -> str:
    text = next((str(r["label"]) for r in rows if r["kind"] == "text"), "")
    heard = [f"round {r['round']} hears “{r['label']}”" for r in rows if r["kind"] == "hypothesis"]
    return f"Said: {text}. " + ", ".join(heard) + "."
