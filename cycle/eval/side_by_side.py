"""Recipes against one of them, over several seeds: `python -m cycle.eval.side_by_side EXP... [--against supervised]`.

With `--controls`, all systems of experiments of one recipe; with `--rows FILE`, beside those of earlier sittings.

Rates and differences are drawn anew over utterances and over seeds, both with replacement, the same draws for every recipe; p-values are
two-sided as in `cycle.eval.bootstrap.paired_p` and corrected for the number of recipes (Holm 1979). Two or three seeds drawn with
replacement differ less than new ones would: where seeds differ more than chance among utterances explains, that p is too small. A paired
t-test over the seeds alone stands beside it, which takes them as few as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import ttest_1samp

from cycle.errors import UserError
from cycle.eval import per_utt, sittings, tables
from cycle.eval.sittings import Array, Scores
from cycle.files import read_json

HEADER = ("recipe", "seeds", "error %", "95 % interval", "fewer errors %", "p", "p (Holm)", "p (seeds)")
VALUES = ("recipe", "seeds", "value", "95 % interval", "gain %", "p", "p (Holm)", "p (seeds)")  # of a metric that is no error rate


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


def seeds_p(errors: Array, other: Array) -> float | None:
    """Two-sided p-value of a paired t-test over seeds, (S, N) errors each; None for one seed, or where all differ by the same."""
    difference = (errors - other).sum(1)
    if len(difference) < 2 or np.ptp(difference) == 0:
        return None
    return float(ttest_1samp(difference, 0.0).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m times m - k + 1, never below the one before it, at most 1."""
    out, worst = [0.0] * len(p), 0.0
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - k) * p[i]))
        out[i] = worst
    return out


def read(paths: Sequence[Path], controls: bool = False) -> tuple[Scores, list[str], Array]:
    """Errors of each recipe's own system, or values of the items with 1 for a reference.

    Args:
        controls: of the baseline and of what `--controls` ran too.

    Returns:
        system: seed: (N,); the utterances; and (N,) reference units.

    Raises:
        UserError: an experiment is not finished, or two have the same system and seed, or they differ in utterances.
    """
    found: dict[str, dict[int, per_utt.PerUtt]] = {}
    for path in paths:
        if not (path / "summary.json").is_file():
            raise UserError("is no finished experiment (it has no summary.json)", path, f"finish it first: ./run.sh --exp {path}")
        summary = read_json(path / "summary.json")
        for system in summary["systems"] if controls else [summary["recipe"]]:
            by_seed = found.setdefault(system, {})
            if summary["seed"] in by_seed:
                raise UserError(f"has {system} with seed {summary['seed']}, and so has another", path, "name one of them")
            by_seed[summary["seed"]] = per_utt.read(path / "score" / system / "per_utt.tsv")
    truth = {utt: ref for utt, (_, ref) in next(iter(next(iter(found.values())).values())).items()}
    for system, by_seed in found.items():
        if any({utt: ref for utt, (_, ref) in scores.items()} != truth for scores in by_seed.values()):
            raise UserError(f"{system} was scored on other utterances", None, "compare experiments on the same test pool")
    utts = sorted(truth)
    errors = {
        system: {seed: np.array([by_seed[seed][u][0] for u in utts], dtype=np.float64) for seed in sorted(by_seed)}
        for system, by_seed in found.items()
    }
    return errors, utts, np.array([truth[u] for u in utts], dtype=np.float64)


def shared(one: dict[int, Array], other: dict[int, Array]) -> tuple[Array, Array]:
    """(S, N) errors of two systems with the seeds that both have."""
    seeds = sorted(set(one) & set(other))
    return np.array([one[seed] for seed in seeds]), np.array([other[seed] for seed in seeds])


def rows(errors: Scores, refs: Array, against: str, higher_is_better: bool = False) -> list[tuple[str, ...]]:
    """The table's cells, the best first.

    Order and differences are over the seeds that a system shares with the one it is compared with: other seeds start elsewhere, and their
    rates say nothing about a method.

    Raises:
        UserError: the system to compare with is not there, or has no seed in common with another.
    """
    if against not in errors:
        raise UserError(f"no recipe {against!r} among them", None, f"compare against one of: {', '.join(sorted(errors))}")
    others = [system for system in errors if system != against]
    for system in others:
        if not set(errors[system]) & set(errors[against]):
            raise UserError(f"{system} and {against} have no seed in common", None, "run one of them with a seed of the other")
    p = [p_value(*shared(errors[system], errors[against]), refs) for system in others]
    alone = [seeds_p(*shared(errors[system], errors[against])) for system in others]
    shown = dict(zip(others, zip(p, holm(p), alone, strict=True), strict=True))

    def ratio(system: str) -> float:
        mine, theirs = shared(errors[system], errors[against])
        return float(mine.sum() / (theirs.sum() or 1.0))

    out = []
    for system in sorted(errors, key=ratio, reverse=higher_is_better):
        whole = np.array(list(errors[system].values()))
        low, high = np.quantile(resampled(whole, refs), [0.025, 0.975])
        figure = whole.sum() / (len(whole) * refs.sum())
        shown_as = (
            (f"{figure:.4f}", f"{low:.4f} to {high:.4f}") if higher_is_better else (tables.percent(figure, 2), tables.span((low, high)))
        )
        cells = [system, str(len(whole)), *shown_as]
        if system == against:
            out.append((*cells, *[tables.NONE] * 4))
        else:
            fewer = 1 - ratio(system)
            out.append((*cells, tables.signed_percent(-fewer if higher_is_better else fewer), *map(tables.p_value, shown[system])))
    return out


def gathered(paths: Sequence[Path], controls: bool, kept: Path | None) -> tuple[Scores, list[str], Array]:
    """What `read` finds in the experiments, and what `kept` has of earlier sittings.

    Raises:
        UserError: as `read`, or the earlier ones were scored on other utterances.
    """
    if kept is None or not kept.exists():
        return read(paths, controls)
    scores, utts, refs = sittings.read(kept)
    if paths:
        new, scored, units = read(paths, controls)
        if scored != utts or not np.array_equal(units, refs):
            raise UserError("was scored on other utterances than these experiments", kept, "name another file, or the same test pool")
        scores = sittings.joined(scores, new)
    return scores, utts, refs


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("python -m cycle.eval.side_by_side", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("exp", nargs="*", type=Path, help="finished experiments")
    parser.add_argument("--against", default="supervised", metavar="RECIPE")
    parser.add_argument("--controls", action="store_true", help="all systems of experiments of one recipe")
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="a table of errors of earlier sittings; these experiments are added to it"
    )
    options = parser.parse_args(list(words))
    if not options.exp and not (options.rows and options.rows.exists()):
        raise UserError("no experiments are named", None, "python -m cycle.eval.side_by_side EXP... or --rows FILE")
    errors, utts, refs = gathered(options.exp, options.controls, options.rows)
    rises = {bool(read_json(path / "summary.json").get("higher_is_better")) for path in options.exp}
    if len(rises) > 1:
        raise UserError("some are judged by errors, others by values", None, "compare experiments with one metric")
    higher = True in rises
    if options.rows and higher:
        raise UserError("keeps errors, and these experiments are judged by values", options.rows, "leave --rows out")
    if options.rows and options.exp:
        sittings.write(options.rows, errors, utts, refs)
    print(tables.markdown(VALUES if higher else HEADER, rows(errors, refs, options.against, higher)), end="")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
