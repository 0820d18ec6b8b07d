"""Scoring a decoded set by CIDEr-D against several references: the mean over clips with its interval, and files to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cycle.eval import captions
from cycle.eval.bootstrap import interval
from cycle.files import write_json, write_text, write_tsv

PER_UTT = ("utt", "spk", "value")
Row = dict[str, Any]  # of a decoded set: utt, spk, text, ref, hyp, and refs where there are several


@dataclass(frozen=True)
class CaptionScore:
    """CIDEr-D with document frequencies of the set's own references; the interval is over clips.

    Args:
        resamples, seed: of the bootstrap.
    """

    resamples: int
    seed: int
    main = ("value", "n", "ci95")  # of an entry, what is kept of dev
    least = 2  # clips that can be scored

    def entry(self, rows: list[Row]) -> dict[str, Any]:
        """The metric's value alone."""
        return self._entry(self._scores(rows))

    def score_set(self, title: str, rows: list[Row], folder: Path) -> dict[str, Any]:
        """Scores one decoded set and writes its files; returns the entry of summary.json.

        Args:
            title: what the file of captions calls the set.
            folder: gets `per_utt.tsv`, `captions.txt` and `scores.json`.

        Returns:
            value, n and ci95 of CIDEr-D; `scores` of all metrics, and the `shape` of the captions and of the `references`.
        """
        found = self._scores(rows)
        refs = [texts_of(row) for row in rows]
        look = {"shape": captions.shape([row["hyp"] for row in rows], refs),
                "references": captions.shape([text for texts in refs for text in texts], refs)}  # fmt: skip
        overall = {name: round(value, 6) for name, value in found.overall.items()}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "scores.json", {"scores": overall, **look})
        write_tsv(folder / "per_utt.tsv", PER_UTT, ((row["utt"], row["spk"], repr(found.cider_d[row["utt"]])) for row in rows))
        write_text(folder / "captions.txt", caption_file(title, rows, found.cider_d))
        return {**self._entry(found), "scores": overall, **look}

    def _scores(self, rows: list[Row]) -> captions.Scores:
        return captions.scores({row["utt"]: texts_of(row) for row in rows}, {row["utt"]: row["hyp"] for row in rows})

    def _entry(self, found: captions.Scores) -> dict[str, Any]:
        values = list(found.cider_d.values())
        low, high = interval(values, [1] * len(values), self.resamples, self.seed)
        return {"value": round(found.overall["cider_d"], 6), "n": len(values), "ci95": [round(low, 6), round(high, 6)]}


def texts_of(row: Row) -> list[str]:
    """All references of a row."""
    return list(row.get("refs") or [row["ref"]])


def told(entry: dict[str, Any]) -> str:
    """An entry in words."""
    look = entry["shape"]
    return (
        f"CIDEr-D {entry['value']:.4f} over {entry['n']} clips; {look['length']:.1f} words a caption, {look['distinct']} distinct captions"
    )


def caption_file(title: str, rows: list[Row], values: dict[str, float]) -> str:
    """Every caption with its references, worst first."""
    text = [f"# {title}: CIDEr-D of each clip, worst first"]
    for row in sorted(rows, key=lambda row: (values[row["utt"]], row["utt"])):
        text += ["", f"{row['utt']}  {values[row['utt']]:.3f}", f"  hyp  {row['hyp']}", *(f"  ref  {ref}" for ref in texts_of(row))]
    return "\n".join(text) + "\n"
