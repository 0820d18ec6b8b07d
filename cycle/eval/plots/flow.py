"""The data flow of a run, drawn from its configuration: pools, exchange, streams, and which model each objective trains on which."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from cycle.data.kinds import STREAMS
from cycle.eval import history
from cycle.eval.figures import Cell, Rows
from cycle.eval.plots.axes import plain, short
from cycle.eval.story import Story
from cycle.eval.style import BLUE, COLORS, GREY, RED, Style
from cycle.settings import ObjectiveConf, Rounds

TINT = {"paired": GREY, "speech": BLUE, "text": RED}
LEFT, RIGHT, LINE = 26.0, 84.0, 5.2  # where the streams stand in a width of 100; height of an objective's line


def flow_table(story: Story) -> Rows:
    """Boxes and wires: pool, step, stream, objective, wire."""
    conf = story.exp.config.rounds
    wires = {name: mix for name, o in conf.objectives.items() if (mix := _wires(o, conf.count))}
    drawn = [stream for stream in STREAMS if any(stream in mix for mix in wires.values())]
    rows: Rows = [_row("pool", pool.name, count=pool.utterances, hours=pool.hours) for pool in history.pools(story)]
    rows += [_row("step", pool, text=said) for pool, said in _steps(conf, drawn).items()]
    counts = _stream_counts(story)
    rows += [_row("stream", stream, of=STREAMS[stream].pool, count=counts.get(stream)) for stream in drawn]
    for name, mix in wires.items():
        objective = conf.objectives[name]
        every = f", one update in {objective.every}" if objective.every > 1 else ""
        trains = "+".join(story.trains.get(name, []))
        rows.append(_row("objective", name, of=trains, text=f"weight {objective.weight:g}{every}"))
        rows += [_row("wire", name, of=stream, share=round(share, 4)) for stream, share in mix.items()]
    return rows


def _wires(objective: ObjectiveConf, rounds: int) -> dict[str, float]:
    """The streams of an objective with their parts of its batches, mean of the rounds in which it trains."""
    mixes = [mix for number in range(1, rounds + 1) if (mix := objective.shares(number))]
    parts = [{stream: share / sum(mix.values()) for stream, share in mix.items()} for mix in mixes]
    return {stream: mean for stream in STREAMS if (mean := sum(p.get(stream, 0.0) for p in parts) / max(1, len(parts)))}


def _row(kind: str, name: str, **values: Cell) -> dict[str, Cell]:
    return {"kind": kind, "name": name, "of": None, "text": None, "count": None, "hours": None, "share": None} | values


def _steps(conf: Rounds, drawn: Sequence[str]) -> dict[str, str]:
    """What the models of the round before do with each unpaired pool."""
    steps = {}
    if {"pseudo", "speech", "labelled"} & set(drawn):
        who = "true texts (control)" if conf.label.source == "oracle" else "ASR labels"
        chosen = bool({"pseudo", "speech"} & set(drawn))
        judged = "TTS judges" if chosen and conf.label.judged and conf.label.source != "oracle" else ""
        steps["speech"] = ", ".join(filter(None, [who, judged, _rules(conf.select_labels) if chosen else ""]))
    if "synthetic" in drawn:
        steps["text"] = ", ".join(filter(None, ["TTS speaks, ASR listens", _rules(conf.select_synthetic)]))
    return steps


def _rules(rules: Sequence[object]) -> str:
    names = [str(getattr(rule, "rule", rule)) for rule in rules]
    return "select: " + ", ".join(names) if names else ""


def _stream_counts(story: Story) -> dict[str, int]:
    """Utterances of each stream in the last round."""
    pools = {row.name: row.utterances for row in history.pools(story)}
    spoken = story.exp.config.rounds.speak.count
    texts = min(pools.get("text", 0), spoken) if spoken > 0 else pools.get("text", 0)
    counts = {
        "paired": pools.get("paired", 0),
        "labelled": pools.get("speech", 0),
        "recordings": pools.get("speech", 0),
        "text": texts,
        "synthetic": texts,
    }
    done = [row["round"] for row in story.rounds if row["round"]]
    kept = history.selection_counts(story, done[-1]) if done else {}
    names = {"pseudo": "labels_kept", "synthetic": "synthetic_kept"}
    return counts | {stream: kept[file] for stream, file in names.items() if file in kept}


def draw_flow(canvas: Canvas, rows: Rows, style: Style) -> None:
    """Top down: pools, what is done with them, streams; then a line for each objective, with a dot on every stream it draws on."""
    by_kind = {kind: [r for r in rows if r["kind"] == kind] for kind in ("pool", "step", "stream", "objective", "wire")}
    places, rooms = _columns([str(r["name"]) for r in by_kind["stream"]])
    objectives = by_kind["objective"]
    height = 63.5 + LINE * len(objectives)
    canvas.set_size_inches(style.column, height / 100 * 3.25)
    axes: Axes = canvas.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 100)
    axes.set_ylim(-height, 0)
    _sources(axes, by_kind, places, rooms, style)
    top = -43.5
    for n, row in enumerate(objectives):
        y = top - LINE * (n + 0.5)
        _objective(axes, row, y, [w for w in by_kind["wire"] if w["name"] == row["name"]], places, style)
    bottom = top - LINE * len(objectives) - 1.5
    _models(axes, objectives, top, bottom, style)
    for name, x in places.items():
        axes.plot([x, x], [top + 1.5, bottom + 1.5], color=TINT[STREAMS[name].pool], linewidth=0.8, alpha=0.5, zorder=0)
    _held_out(axes, by_kind["pool"], bottom, style)


def _columns(streams: Sequence[str]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Where each stream stands, and the middle and width of each pool, which has room for its name however few streams it has."""
    groups = {pool: [s for s in streams if STREAMS[s].pool == pool] for pool in ("paired", "speech", "text")}
    widths = {pool: max(1.5 if pool == "paired" else 2.2, len(group)) for pool, group in groups.items() if group}
    unit, x = (RIGHT - LEFT) / max(1.0, sum(widths.values())), LEFT
    places: dict[str, float] = {}
    rooms: dict[str, tuple[float, float]] = {}
    for pool, width in widths.items():
        inner = min(width, 1.15 * len(groups[pool]))  # streams of one pool stay together
        for i, stream in enumerate(groups[pool]):
            places[stream] = x + unit * (width / 2 + inner * ((i + 0.5) / len(groups[pool]) - 0.5))
        rooms[pool] = (x + unit * width / 2, unit * width - 1.5)
        x += unit * width
    return places, rooms


def _box(axes: Axes, x: float, y: float, w: float, h: float, text: str, color: str, size: float, **looks: object) -> None:
    """A box centred on (x, y) with text in it."""
    axes.add_patch(
        FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=1.2", facecolor=color, alpha=0.16, edgecolor="none"
        )
    )
    axes.add_patch(
        FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=1.2", facecolor="none", edgecolor=color, linewidth=0.7
        )
    )
    axes.text(x, y, plain(text), ha="center", va="center", fontsize=size, linespacing=1.15, **looks)


def _arrow(axes: Axes, start: tuple[float, float], stop: tuple[float, float], color: str) -> None:
    axes.add_patch(FancyArrowPatch(start, stop, arrowstyle="-|>", mutation_scale=5, linewidth=0.8, color=color, shrinkA=0, shrinkB=0))


def size_of(row: dict[str, Cell]) -> str:
    """ "40, 72 s" of a pool."""
    hours = row["hours"]
    return f"{int(row['count'] or 0):,}".replace(",", " ") + (f", {_lasting(hours)}" if isinstance(hours, float) else "")


def _lasting(hours: float) -> str:
    """In the largest unit that there are two of."""
    for unit, seconds in (("h", 3600), ("min", 60)):
        if hours * 3600 >= 2 * seconds:
            return f"{hours * 3600 / seconds:.2g} {unit}" if hours * 3600 < 100 * seconds else f"{hours * 3600 / seconds:.0f} {unit}"
    return f"{hours * 3600:.0f} s"


def _sources(axes: Axes, by_kind: dict[str, Rows], places: dict[str, float], rooms: dict[str, tuple[float, float]], style: Style) -> None:
    """Pools, steps and streams."""
    small = style.small - 0.9
    pools, steps = {str(r["name"]): r for r in by_kind["pool"]}, {str(r["name"]): str(r["text"]) for r in by_kind["step"]}
    for pool, (x, w) in rooms.items():
        label = pool if pool == "paired" else f"{pool} only"
        _box(axes, x, -5, w, 7.5, f"{label}\n{size_of(pools[pool])}" if pool in pools else label, TINT[pool], small)
        if pool in steps:
            _box(axes, x, -18.2, w, 12.6, _wrapped(steps[pool], 17), TINT[pool], small - 0.3, style="italic")
            _arrow(axes, (x, -8.8), (x, -11.9), TINT[pool])
    axes.text(1, -18.5, "the models of\nthe round before", va="center", fontsize=small, color="0.35", linespacing=1.15)
    axes.text(
        1, -33.5, "streams of a round\n(utterances, last\nround's selection)", va="center", fontsize=small, color="0.35", linespacing=1.15
    )
    for row in by_kind["stream"]:
        name, x = str(row["name"]), places[str(row["name"])]
        _arrow(axes, (x, -8.8 if STREAMS[name].pool not in steps else -24.5), (x, -26.3), TINT[STREAMS[name].pool])
        count = f" {int(row['count']):,}".replace(",", "\u2009") if isinstance(row["count"], int) else ""
        label = f"{name}{count}"
        fitting = (small - 0.6) * min(1.0, 14 / len(label))  # "synthetic 16 000" has to stay inside
        _box(axes, x, -34, 5.6, 15.5, label, TINT[STREAMS[name].pool], fitting, rotation=90)


def _objective(axes: Axes, row: dict[str, Cell], y: float, wires: Rows, places: dict[str, float], style: Style) -> None:
    """One line: name, dots on its streams (the larger, the more of a batch), and the models that it moves."""
    axes.plot([LEFT - 1, 97], [y, y], color="0.8", linewidth=0.6, zorder=0)
    name = short(row["name"], 28)
    axes.text(1, y + 0.9, name, va="center", fontsize=(style.small - 0.4) * min(1.0, 18 / len(name)))
    axes.text(1, y - 1.5, str(row["text"]), va="center", fontsize=style.small - 2.2, color="0.4")
    for wire in wires:
        stream = str(wire["of"])
        axes.plot(places[stream], y, "o", color=TINT[STREAMS[stream].pool], markersize=2.5 + 4 * float(wire["share"] or 0) ** 0.5)
    for x, model in ((89, "asr"), (95, "tts")):
        if model in str(row["of"] or "").split("+"):
            axes.plot(x, y, "s", color="black", markersize=4)


def _models(axes: Axes, objectives: Rows, top: float, bottom: float, style: Style) -> None:
    for x, name in ((89, "ASR"), (95, "TTS")):
        axes.plot([x, x], [top, bottom + 1.5], color="0.8", linewidth=0.6, zorder=0)
        _box(axes, x, top + 4, 5.4, 4.4, name, COLORS[2], style.small - 0.7)
    axes.text(92, top + 11.5, "trains", ha="center", va="center", fontsize=style.small - 0.7, color="0.35")


def _held_out(axes: Axes, pools: Rows, bottom: float, style: Style) -> None:
    """The new pair, and the sets that judge it."""
    y = bottom - 10.0
    _box(axes, 50, bottom - 2.5, 98, 4.6, "ASR and TTS of this round: they label and speak for the next one", COLORS[2], style.small - 0.3)
    held = {str(r["name"]): r for r in pools}
    for x, name, use in ((26, "dev", "chooses rounds and thresholds"), (75, "test", "is only reported")):
        size = f" ({size_of(held[name])})" if name in held else ""
        _box(axes, x, y, 47, 7.8, f"{name}{size}\n{use}", COLORS[4], style.small - 0.7)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return textwrap.fill(text, width)


def say_flow(rows: Rows) -> str:
    pools = ", ".join(f"{r['name']} {size_of(r)}" for r in rows if r["kind"] == "pool")
    moves = "; ".join(
        f"{r['name']} trains {r['of'] or 'models'} on "
        + ", ".join(str(w["of"]) for w in rows if w["kind"] == "wire" and w["name"] == r["name"])
        for r in rows
        if r["kind"] == "objective"
    )
    return f"Pools: {pools}. Objectives: {moves}."
