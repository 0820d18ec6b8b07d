"""Stage 6: error rates with counts, or values of captions, with confidence intervals; files to read; summary.json."""

from __future__ import annotations

import math
from typing import Any

from cycle.data.text import Spelling, spelling
from cycle.errors import UserError
from cycle.eval import caption_score, error_score
from cycle.eval.caption_score import CaptionScore
from cycle.eval.error_score import ErrorScore, Row
from cycle.experiment import Experiment
from cycle.files import atomic_dir, read_json, read_jsonl, read_tsv, write_json
from cycle.log import log

BASELINE, ORACLE = "baseline", "oracle"


def main(exp: Experiment) -> None:
    """Scores every decoded system of an experiment.

    Raises:
        UserError: nothing is decoded yet.
    """
    summary = score(exp, spelling(exp.config.corpus.language))
    for system, entry in summary["systems"].items():
        log.info("%s: %s", system, (caption_score if "value" in entry else error_score).told(entry))
    for system, reason in summary["missing"].items():
        log.warning("%s is not scored: %s", system, reason)


def scorer_of(language: Spelling, exp: Experiment) -> ErrorScore | CaptionScore:
    """What a corpus is judged by: its language's errors, or how well captions agree with people's."""
    resamples, seed = exp.config.score.bootstrap, exp.config.seed
    if language.metric == "cider_d":
        return CaptionScore(resamples, seed)
    return ErrorScore(language, resamples, seed, exp.root / "decode")


def score(exp: Experiment, language: Spelling) -> dict[str, Any]:
    """Writes `exp.scores` and `exp.summary`; returns the summary."""
    decoding, scorer = _decoding(exp), scorer_of(language, exp)
    tests, missing = _tests(exp, decoding["systems"])
    entries: dict[str, Any] = {}
    with atomic_dir(exp.scores) as folder:
        for system, rows in tests.items():
            entries[system] = scorer.score_set(f"{system}, test", rows, folder / system)
            entries[system] |= unshared(rows, scorer, exp)
            dev = exp.decoded(system) / "dev.jsonl"
            if dev.exists():
                scored = scorer.score_set(f"{system}, dev", read_jsonl(dev), folder / system / "dev")
                entries[system]["dev"] = {key: scored[key] for key in scorer.main}
    summary = summarize(exp, language, decoding, entries, missing)
    write_json(exp.summary, summary)
    return summary


def _decoding(exp: Experiment) -> dict[str, Any]:
    path = exp.root / "decode" / "systems.json"
    if not path.exists():
        raise UserError("no system is decoded yet", path.parent, "run stage 5 first: python -m cycle decode")
    decoding: dict[str, Any] = read_json(path)
    return decoding


def _tests(exp: Experiment, systems: list[str]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Decoded test sets by system, baseline and recipe first, and why the others are missing.

    A system that lacks utterances is not scored: its rate would be of another test set.
    """
    order = list(dict.fromkeys([BASELINE, exp.recipe, *systems]))
    found = {system: read_jsonl(path) for system in order if (path := exp.decoded(system) / "test.jsonl").exists()}
    missing = {system: "no decodings" for system in order if system not in found}
    if not found:
        raise UserError("no system's test set is decoded", exp.root / "decode", "run stage 5 first: python -m cycle decode")
    expected = max((_key(rows) for rows in found.values()), key=len)
    for system in list(found):
        if _key(found[system]) != expected:
            missing[system] = f"its {len(found.pop(system))} utterances are not the {len(expected)} of the test set"
    return found, missing


def _key(rows: list[Row]) -> list[tuple[str, str]]:
    return sorted((row["utt"], row["ref"]) for row in rows)


def unshared(rows: list[Row], scorer: ErrorScore | CaptionScore, exp: Experiment) -> dict[str, Any]:
    """The metric over the test utterances whose text and speaker training does not share; nothing where it shares none.

    Returns:
        {"unshared": the figure with its counts}, null where too few are left; {} for a corpus without such utterances.
    """
    path = exp.root / "data" / "shared.tsv"  # stage 1 lists them for sets that stand as published
    shared = {row["utt"] for row in read_tsv(path) if row["set"] == "test"} if path.exists() else set()
    if not shared:
        return {}
    rest = [row for row in rows if row["utt"] not in shared]
    return {"unshared": {**scorer.entry(rest), "utterances": len(rest)} if len(rest) >= scorer.least else None}


def summarize(
    exp: Experiment, language: Spelling, decoding: dict[str, Any], entries: dict[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    """summary.json; what cannot be computed is null."""
    rounds = exp.root / "decode" / "rounds.json"
    rates = {system: entry.get("rate", entry.get("value")) for system, entry in entries.items()}
    baseline, final, oracle = rates.get(BASELINE), rates.get(exp.recipe), rates.get(ORACLE)
    summary = {
        "corpus": exp.corpus,
        "recipe": exp.recipe,
        "metric": language.metric,
        "unit": "clip" if language.higher_is_better else next(iter(language.rates)),
        "higher_is_better": language.higher_is_better,
        "seconds": decoding.get("seconds"),
        "device": exp.device,
        "seed": exp.config.seed,
        "preset": exp.config.preset,
        "systems": entries,
        "missing": missing,
        "rounds": read_json(rounds) if rounds.exists() else [],
        "relative_reduction": relative_reduction(baseline, final),
        "gap_recovered": gap_recovered(baseline, final, oracle, language.higher_is_better),
    }
    clean: dict[str, Any] = finite(summary)
    return clean


def relative_reduction(baseline: float | None, system: float | None) -> float | None:
    """1 - system/baseline, below 0 where a value has risen; None when either is missing or the baseline is 0."""
    return round(1 - system / baseline, 6) if baseline and system is not None else None


def gap_recovered(baseline: float | None, system: float | None, oracle: float | None, higher_is_better: bool = False) -> float | None:
    """The share of the way from the baseline to the oracle; None unless the oracle is better than the baseline."""
    if baseline is None or system is None or oracle is None or oracle == baseline or (oracle > baseline) != higher_is_better:
        return None
    return round((baseline - system) / (baseline - oracle), 6)


def finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite(sub) for key, sub in value.items()}
    if isinstance(value, list):
        return [finite(sub) for sub in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
