"""Stage 6: error rates with counts and confidence intervals, error files, summary.json."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cycle.data.text import Spelling, Units, spelling
from cycle.errors import UserError
from cycle.eval import align_text
from cycle.eval.bootstrap import interval
from cycle.eval.errors import Counts, align, count_all, total
from cycle.experiment import Experiment
from cycle.files import atomic_dir, read_json, read_jsonl, write_json, write_text, write_tsv
from cycle.log import log

BASELINE, ORACLE = "baseline", "oracle"
PER_UTT = ("utt", "spk", "sub", "ins", "del", "ref")
Row = dict[str, Any]  # of a decoded set: utt, spk, text, ref, hyp


def main(exp: Experiment) -> None:
    """Scores every decoded system of an experiment.

    Raises:
        UserError: nothing is decoded yet.
    """
    summary = score(exp, spelling(exp.config.corpus.language))
    for system, entry in summary["systems"].items():
        log.info("%s: %.2f %% (%d of %d)", system, 100 * entry["rate"], entry["errors"], entry["ref"])
    for system, reason in summary["missing"].items():
        log.warning("%s is not scored: %s", system, reason)


def score(exp: Experiment, language: Spelling) -> dict[str, Any]:
    """Writes `exp.scores` and `exp.summary`; returns the summary."""
    decoding = _decoding(exp)
    tests, missing = _tests(exp, decoding["systems"])
    entries: dict[str, Any] = {}
    with atomic_dir(exp.scores) as folder:
        for system, rows in tests.items():
            entries[system] = score_set(f"{system}, test", rows, language, folder / system, exp)
            entries[system] |= unshared(rows, language, exp)
            dev = exp.decoded(system) / "dev.jsonl"
            if dev.exists():
                scored = score_set(f"{system}, dev", read_jsonl(dev), language, folder / system / "dev", exp)
                entries[system]["dev"] = {key: scored[key] for key in ("errors", "ref", "rate", "ci95")}
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


def score_set(title: str, rows: list[Row], language: Spelling, folder: Path, exp: Experiment) -> dict[str, Any]:
    """Scores one decoded set at every rate and writes its files; returns the entry of summary.json.

    Args:
        title: what the error file calls the set.
        folder: gets `per_utt.tsv`, `errors.txt` (both of the metric's rate) and `rates.json`.

    Raises:
        UserError: the references have no units.
    """
    refs, hyps = ([row[side].split() for row in rows] for side in ("ref", "hyp"))
    by_rate = {name: count_all(map(units, refs), map(units, hyps)) for name, units in language.rates.items()}
    rates = {name: _entry(counts, exp) for name, counts in by_rate.items()}
    name, units = next(iter(language.rates.items()))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "rates.json", rates)
    counted = list(zip(rows, by_rate[name], strict=True))
    write_tsv(folder / "per_utt.tsv", PER_UTT, ((r["utt"], r["spk"], c.sub, c.ins, c.dele, c.ref) for r, c in counted))
    write_text(folder / "errors.txt", error_file(f"{title}: {name} errors", counted, units))
    return {**rates[name], "utterances": len(rows), "rates": rates}


def unshared(rows: list[Row], language: Spelling, exp: Experiment) -> dict[str, Any]:
    """The metric's rate over the test utterances whose text and speaker training does not share; nothing where it shares none.

    Returns:
        {"unshared": the rate with its counts}, null where every utterance is shared; {} for a corpus without such utterances.
    """
    path = exp.root / "data" / "shared.tsv"  # stage 1 lists them for sets that stand as published
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    shared = {utt for split, utt, _ in (line.split("\t") for line in lines) if split == "test"}
    if not shared:
        return {}
    rest = [row for row in rows if row["utt"] not in shared]
    units = next(iter(language.rates.values()))
    counts = count_all(*([units(row[side].split()) for row in rest] for side in ("ref", "hyp")))
    return {"unshared": {**_entry(counts, exp), "utterances": len(rest)} if rest else None}


def _entry(counts: list[Counts], exp: Experiment) -> dict[str, Any]:
    whole = total(counts)
    if not whole.ref:
        raise UserError("the references of the evaluation set are empty", exp.root / "decode", "check the corpus: python -m cycle check")
    ci95 = interval([c.errors for c in counts], [c.ref for c in counts], exp.config.score.bootstrap, exp.config.seed)
    return {
        "errors": whole.errors,
        "ref": whole.ref,
        "rate": round(whole.rate, 6),
        "ci95": [round(end, 6) for end in ci95],
        "sub": whole.sub,
        "ins": whole.ins,
        "del": whole.dele,
    }


def error_file(title: str, counted: list[tuple[Row, Counts]], units: Units) -> str:
    """What went wrong, to read: the most frequent confusions, then each faulty utterance aligned, worst first."""
    faulty = sorted((pair for pair in counted if pair[1].errors), key=lambda pair: -pair[1].errors)
    aligned = [align(units(row["ref"].split()), units(row["hyp"].split())) for row, _ in faulty]
    text = [f"# {title}; {len(faulty)} of {len(counted)} utterances have some", "", "# most frequent: count, reference, hypothesis"]
    text += [f"{count:6d}  {ref} > {hyp}" for count, ref, hyp in align_text.confusions(aligned)]
    for (row, counts), steps in zip(faulty, aligned, strict=True):
        ref, hyp, marks = align_text.lines(steps)
        text += ["", f"{row['utt']}  {row['spk']}  {counts.errors} of {counts.ref}  {' '.join(str(row.get('text') or '').split())}"]
        text += [f"  ref  {ref}", f"  hyp  {hyp}", f"       {marks}"]
    return "\n".join(text) + "\n"


def summarize(
    exp: Experiment, language: Spelling, decoding: dict[str, Any], entries: dict[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    """summary.json; what cannot be computed is null."""
    rounds = exp.root / "decode" / "rounds.json"
    rates = {system: entry["rate"] for system, entry in entries.items()}
    baseline, final, oracle = rates.get(BASELINE), rates.get(exp.recipe), rates.get(ORACLE)
    summary = {
        "corpus": exp.corpus,
        "recipe": exp.recipe,
        "metric": language.metric,
        "unit": next(iter(language.rates)),
        "higher_is_better": False,
        "seconds": decoding.get("seconds"),
        "device": decoding.get("device", exp.device),
        "seed": exp.config.seed,
        "preset": exp.config.preset,
        "systems": entries,
        "missing": missing,
        "rounds": read_json(rounds) if rounds.exists() else [],
        "relative_reduction": relative_reduction(baseline, final),
        "gap_recovered": gap_recovered(baseline, final, oracle),
    }
    clean: dict[str, Any] = finite(summary)
    return clean


def relative_reduction(baseline: float | None, system: float | None) -> float | None:
    """1 - system/baseline; None when either is missing or the baseline makes no errors."""
    return round(1 - system / baseline, 6) if baseline and system is not None else None


def gap_recovered(baseline: float | None, system: float | None, oracle: float | None) -> float | None:
    """The share of the way from the baseline to the oracle; None unless the oracle is better than the baseline."""
    if baseline is None or system is None or oracle is None or oracle >= baseline:
        return None
    return round((baseline - system) / (baseline - oracle), 6)


def finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite(sub) for key, sub in value.items()}
    if isinstance(value, list):
        return [finite(sub) for sub in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
