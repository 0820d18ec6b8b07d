"""Scoring a decoded set by errors: rates with counts and intervals, and files to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cycle.data.text import Spelling, Units
from cycle.errors import UserError
from cycle.eval import align_text
from cycle.eval.bootstrap import interval
from cycle.eval.errors import Counts, align, count_all, total
from cycle.files import write_json, write_text, write_tsv

PER_UTT = ("utt", "spk", "sub", "ins", "del", "ref")
Row = dict[str, Any]  # of a decoded set: utt, spk, text, ref, hyp, and refs where there are several


@dataclass(frozen=True)
class ErrorScore:
    """Error rates of a language.

    Args:
        resamples, seed: of the bootstrap.
        where: what an error names.
    """

    language: Spelling
    resamples: int
    seed: int
    where: Path
    main = ("errors", "ref", "rate", "ci95")  # of an entry, what is kept of dev
    least = 1  # utterances that can be scored

    def entry(self, rows: list[Row]) -> dict[str, Any]:
        """The metric's rate alone."""
        units = next(iter(self.language.rates.values()))
        return self._entry(count_all(*([units(row[side].split()) for row in rows] for side in ("ref", "hyp"))))

    def score_set(self, title: str, rows: list[Row], folder: Path) -> dict[str, Any]:
        """Scores one decoded set at every rate and writes its files; returns the entry of summary.json.

        Args:
            title: what the error file calls the set.
            folder: gets `per_utt.tsv`, `errors.txt` (both of the metric's rate) and `rates.json`.

        Raises:
            UserError: the references have no units.
        """
        refs, hyps = ([row[side].split() for row in rows] for side in ("ref", "hyp"))
        by_rate = {name: count_all(map(units, refs), map(units, hyps)) for name, units in self.language.rates.items()}
        rates = {name: self._entry(counts) for name, counts in by_rate.items()}
        name, units = next(iter(self.language.rates.items()))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "rates.json", rates)
        counted = list(zip(rows, by_rate[name], strict=True))
        write_tsv(folder / "per_utt.tsv", PER_UTT, ((r["utt"], r["spk"], c.sub, c.ins, c.dele, c.ref) for r, c in counted))
        write_text(folder / "errors.txt", error_file(f"{title}: {name} errors", counted, units))
        return {**rates[name], "utterances": len(rows), "rates": rates}

    def _entry(self, counts: list[Counts]) -> dict[str, Any]:
        whole = total(counts)
        if not whole.ref:
            raise UserError("the references of the evaluation set are empty", self.where, "check the corpus: python -m cycle check")
        ci95 = interval([c.errors for c in counts], [c.ref for c in counts], self.resamples, self.seed)
        return {
            "errors": whole.errors,
            "ref": whole.ref,
            "rate": round(whole.rate, 6),
            "ci95": [round(end, 6) for end in ci95],
            "sub": whole.sub,
            "ins": whole.ins,
            "del": whole.dele,
        }


def told(entry: dict[str, Any]) -> str:
    """An entry in words."""
    return f"{100 * entry['rate']:.2f} % ({entry['errors']} of {entry['ref']})"


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
