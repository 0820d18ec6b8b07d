"""What selection kept and rejected in a round, with its reasons: a few of each, and how many."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cycle.eval import listening
from cycle.eval.oracle import true_texts
from cycle.eval.story import Story

SHOWN = 4  # of the kept and of the rejected
NAMES = {"labels": "Pseudo-labels", "synthetic": "Synthetic speech"}


@dataclass
class Item:
    """One label or synthetic utterance; `truth` is what was really said (of labels), `heard` what the ASR heard (of synthetic speech)."""

    utt: str
    text: str
    verdict: str
    truth: str = ""
    heard: str = ""
    logp: str = ""
    sound: str | None = None


@dataclass
class Choice:
    """One kind of data in one round."""

    title: str
    kind: str
    kept: int = 0
    reasons: list[tuple[str, int]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)


def choices(story: Story) -> list[Choice]:
    """Those of the last finished round; its labels can be heard."""
    rounds = [row["round"] for row in story.rounds if row["round"]]
    if not rounds:
        return []
    folder = story.exp.round(rounds[-1]) / "selection"
    found: list[Choice] = []
    for kind, name in NAMES.items():
        if (folder / f"{kind}_kept.tsv").is_file():
            title = f"{name} of round {rounds[-1]}"
            choice = story.attempt(f"Selection, {title.lower()}", _choice, story, folder, kind, title)
            found += [choice] if choice else []
    return found


def _choice(story: Story, folder: Path, kind: str, title: str) -> Choice:
    out, why, shown = Choice(title, kind), Counter[str](), Counter[str]()
    for row in _rows(folder / f"{kind}_kept.tsv"):
        out.kept += 1
        if out.kept <= SHOWN:
            out.items.append(_item(row, "kept"))
    for row in _rows(folder / f"{kind}_rejected.tsv"):
        rule = row["reason"].partition(":")[0]
        why[rule] += 1
        if sum(shown.values()) < SHOWN and shown[rule] < 2:  # a reason is not to hide the others
            shown[rule] += 1
            out.items.append(_item(row, row["reason"]))
    out.reasons = sorted(why.items(), key=lambda pair: (-pair[1], pair[0]))
    if kind == "labels":
        _listen(story, out.items)
    return out


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not {"utt", "text"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path.name} is no table of a selection")
        yield from rows


def _item(row: dict[str, str], verdict: str) -> Item:
    logp = row.get("logp") or ""
    return Item(row["utt"], row["text"], verdict, heard=row.get("heard") or "", logp=f"{float(logp):.1f}" if logp else "")


def _listen(story: Story, items: list[Item]) -> None:
    """Adds what was said, and the recordings."""
    utts = [item.utt for item in items]
    truth = story.attempt("True texts of the speech pool", true_texts, story.exp, set(utts)) or {}
    sounds = story.attempt("Recordings of the speech pool", listening.heard_recordings, story, utts) or {}
    for item in items:
        item.truth, item.sound = truth.get(item.utt, ""), sounds.get(item.utt)
