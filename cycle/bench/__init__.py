"""`python -m cycle bench exchange|train|reward [EXP]`: ours against stock ESPnet, side by side in one run; and what the reward costs."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from cycle.config import ROOT
from cycle.device import resolve
from cycle.errors import UserError
from cycle.eval.tables import NONE, plain
from cycle.experiment import Experiment
from cycle.files import write_json
from cycle.log import setup
from cycle.models.pair import settle

type Row = dict[str, Any]
SHOWN = (("first", 2, "first run, s"), ("seconds", 2, "seconds"), ("speed", 0, "times real time"), ("steps", 1, "steps/s"),
         ("milliseconds", 1, "ms a step"), ("error", 3, "error"), ("loss", 3, "loss"), ("apart", 4, "curve apart"), ("floor", 3, "floor"),
         ("traffic", 3, "traffic"), ("ratio", 1, "times stock"))  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Prints tables; writes the numbers as JSON where asked to; both part by part, so that a measurement cut short leaves what it has."""
    setup(None)
    if options.what == "reward":
        return importlib.import_module("cycle.bench.reward").main(options)  # type: ignore[no-any-return]
    device = resolve(options.device)
    exp = _experiment(options.path, device)
    settle()
    measure = importlib.import_module(f"cycle.bench.{options.what}").measure
    result: dict[str, Any] = {}
    for part, found in measure(exp, options.utterances if options.what == "exchange" else options.steps):
        result[part] = found
        if isinstance(found, dict):
            said = (part, table(found["rows"]) if "rows" in found else "", found.get("says", ""))
            print("", *filter(None, said), sep="\n", flush=True)
        if options.json:
            write_json(options.json, result)
    print(f"\n{exp.path}, {device}, {torch.get_num_threads()} threads")
    return 0


def table(rows: dict[str, Row]) -> str:
    """The numbers that any row has, in columns."""
    shown = [(key, digits, title) for key, digits, title in SHOWN if any(key in row for row in rows.values())]
    cells = [[name, *(f"{row[key]:.{digits}f}" if key in row else NONE for key, digits, _ in shown)] for name, row in rows.items()]
    return plain(["", *(title for _, _, title in shown)], cells)


def _experiment(path: Path | None, device: str) -> Experiment:
    """A finished pretraining; without one, `mini` is pretrained in `exp/bench`."""
    from cycle.use import open_finished

    if path is None:
        path = ROOT / "exp" / "bench"
        words = [sys.executable, "-m", "cycle", "run", "--exp", str(path), "--stop-stage", "3", "--device", device]
        if subprocess.run(words, check=False).returncode:
            raise UserError("the models to measure could not be trained", path, "see the lines above")
    exp = open_finished(path, device)
    if not exp.round(0).is_dir():
        raise UserError("is not pretrained", path, "run stages 1 to 3 first")
    if "tts" not in exp.config.models:
        raise UserError("has no synthesiser, and bench measures both models", path, "name another experiment, or use: bench reward")
    return exp


def with_ratios(rows: dict[str, Row], used: str, equal: str) -> dict[str, Any]:
    """Stock one by one is the first row; how many times as fast the others are, by `speed` or `steps`."""
    first = next(iter(rows.values()))
    unit = "speed" if "speed" in first else "steps"
    for row in rows.values():
        row["ratio"] = row[unit] / first[unit]
    out = {"ratio": rows[used]["ratio"], "ratio_equal_search": rows[equal]["ratio"], "rows": rows}
    if "error" in rows[used]:
        out |= {"error": rows[used]["error"], "stock_error": next(iter(rows.values()))["error"]}
    return out
