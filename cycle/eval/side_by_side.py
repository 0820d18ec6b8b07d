"""Recipes against one of them, over several seeds: `python -m cycle.eval.side_by_side EXP... [--against supervised]`.

Rates and differences are drawn anew over utterances and over seeds, both with replacement, the same draws for every recipe; p-values are
two-sided as in `cycle.eval.bootstrap.paired_p` and corrected for the number of recipes (Holm 1979).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cycle.errors import UserError
from cycle.eval import per_utt, tables
from cycle.files import read_json

HEADER = ("recipe", "seeds", "error %", "95 % interval", "fewer errors %", "p", "p (Holm)")
VALUES = ("recipe", "seeds", "value", "95 % interval", "gain %", "p", "p (Holm)")  # of a metric that is no error rate
Array = NDArray[np.float64]


def resampled(errors: Array, refs: Array, resamples: int = 10_000, seed: int = 1) -> Array:
    """Error rates of draws over seeds and utterances.

    Args:
        errors: (S, N) errors of each utterance in each seed (or differences of them); refs: (N,) reference units.

    Returns:
        (resamples,)
    """
    rng, (seeds, n) = np.random.default_rng(seed), errors.shape
    times = rng.multinomial(n, np.full(n, 1 / n), resamples)
    of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    return ((of_seed @ errors) * times).sum(1) / (seeds * (times @ refs))  # type: ignore[no-any-return]


def p_value(errors: Array, other: Array, refs: Array, resamples: int = 10_000, seed: int = 1) -> float:
    """Two-sided p-value of the difference between two recipes, (S, N) errors each."""
    difference = errors - other
    observed = difference.sum() / (len(errors) * refs.sum())
    extreme = np.abs(resampled(difference, refs, resamples, seed) - observed) >= abs(observed) - 1e-12
    return float((1 + extreme.sum()) / (1 + resamples))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m times m - k + 1, never below the one before it, at most 1."""
    out, worst = [0.0] * len(p), 0.0
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - k) * p[i]))
        out[i] = worst
    return out


def read(paths: Sequence[Path]) -> tuple[dict[str, Array], Array]:
    """Errors of each recipe's own system, or values of the items with 1 for a reference.

    Returns:
        recipe: (S, N), seeds in the same order for all; (N,) reference units.

    Raises:
        UserError: an experiment is not finished, or they differ in seeds or utterances.
    """
    found: dict[str, dict[int, per_utt.PerUtt]] = {}
    for path in paths:
        if not (path / "summary.json").is_file():
            raise UserError("is no finished experiment (it has no summary.json)", path, f"finish it first: ./run.sh --exp {path}")
        summary = read_json(path / "summary.json")
        scores = per_utt.read(path / "score" / summary["recipe"] / "per_utt.tsv")
        found.setdefault(summary["recipe"], {})[summary["seed"]] = scores
    first = next(iter(found.values()))
    seeds, truth = sorted(first), {utt: ref for utt, (_, ref) in first[min(first)].items()}
    for recipe, by_seed in found.items():
        if sorted(by_seed) != seeds:
            raise UserError(f"{recipe} has seeds {sorted(by_seed)}, others {seeds}", None, "run the missing ones, or leave them out")
        if any({utt: ref for utt, (_, ref) in scores.items()} != truth for scores in by_seed.values()):
            raise UserError(f"{recipe} was scored on other utterances", None, "compare experiments on the same test pool")
    utts = sorted(truth)
    errors = {r: np.array([[by[s][u][0] for u in utts] for s in seeds], dtype=np.float64) for r, by in found.items()}
    return errors, np.array([truth[u] for u in utts], dtype=np.float64)


def rows(errors: dict[str, Array], refs: Array, against: str, higher_is_better: bool = False) -> list[tuple[str, ...]]:
    """The table's cells, the best first.

    Raises:
        UserError: the recipe to compare with is not there.
    """
    if against not in errors:
        raise UserError(f"no recipe {against!r} among them", None, f"compare against one of: {', '.join(sorted(errors))}")
    others = [recipe for recipe in errors if recipe != against]
    p = [p_value(errors[recipe], errors[against], refs) for recipe in others]
    shown = dict(zip(others, zip(p, holm(p), strict=True), strict=True))
    out = []
    for recipe in sorted(errors, key=lambda r: errors[r].sum(), reverse=higher_is_better):
        low, high = np.quantile(resampled(errors[recipe], refs), [0.025, 0.975])
        seeds = len(errors[recipe])
        figure = errors[recipe].sum() / (seeds * refs.sum())
        shown_as = (
            (f"{figure:.4f}", f"{low:.4f} to {high:.4f}") if higher_is_better else (tables.percent(figure, 2), tables.span((low, high)))
        )
        cells = [recipe, str(seeds), *shown_as]
        if recipe == against:
            out.append((*cells, tables.NONE, tables.NONE, tables.NONE))
        else:
            fewer = 1 - errors[recipe].sum() / max(1.0, errors[against].sum())
            out.append((*cells, tables.signed_percent(-fewer if higher_is_better else fewer), *map(tables.p_value, shown[recipe])))
    return out


def main(words: Sequence[str]) -> None:
    paths, against = list(words), "supervised"
    if "--against" in paths[:-1]:
        place = paths.index("--against")
        against = paths[place + 1]
        del paths[place : place + 2]
    if not paths or any(p.startswith("-") for p in paths):
        raise UserError("python -m cycle.eval.side_by_side EXP... [--against RECIPE]", None)
    errors, refs = read([Path(p) for p in paths])
    rises = {bool(read_json(Path(p) / "summary.json").get("higher_is_better")) for p in paths}
    if len(rises) > 1:
        raise UserError("some are judged by errors, others by values", None, "compare experiments with one metric")
    higher = rises.pop()
    print(tables.markdown(VALUES if higher else HEADER, rows(errors, refs, against, higher)), end="")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
