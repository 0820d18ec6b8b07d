"""`new-corpus`: from a folder of recordings and a transcript to a recipe that runs."""

from __future__ import annotations

import argparse
import os
import re
import statistics
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from cycle.config import ROOT
from cycle.corpus.plan import SHARES, Plan, language, named_splits, plan, speakers_of
from cycle.corpus.recipe import LONGEST, hours, sizes, write
from cycle.data import folder
from cycle.data.intake import Intake, doubled
from cycle.data.kaldi import NOBODY, Fault
from cycle.data.pool import Item
from cycle.data.rejects import Rejects
from cycle.data.text import spelling
from cycle.data.types import Utterance
from cycle.errors import UserError
from cycle.settings import Features
from cycle.yaml_file import read_yaml

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
FEW = 10  # speakers, with far more folders inside theirs, may be parts of the corpus
SHOWN = 80  # characters of an example
ACCIDENT = 0.1  # share of recordings without text from which on they are meant as speech alone


def usable(rows: list[folder.Row], intake: Intake, where: Path) -> list[Item]:
    """What of the corpus can be used, by the rules of stage 1.

    Raises:
        UserError: less than half.
    """
    rejects, utts = intake.rejects, [utt for _, utt in rows]
    twice = doubled(utts)
    # Published evaluation sets are never speech alone: without texts they cannot be scored.
    silent = [(folder.role_of(name), id(utt)) for name, utt in rows if isinstance(utt, Utterance) and utt.text is None]
    alone = {key for role, key in silent if role not in intake.official} if len(silent) >= ACCIDENT * len(rows) else set()
    if len(alone) == len(utts):
        raise UserError("no recording has a text", where, "check that --audio and --text belong together")
    # The official ones first, as in stage 1: of doubled recordings they keep theirs.
    splits: dict[str, list[Utterance | Fault]] = {name: [] for name in intake.official}
    for name, utt in rows:
        role = folder.role_of(name) if intake.official else "all"
        splits.setdefault("speech" if id(utt) in alone else role, []).append(utt)
    items = [item for split, some in splits.items() if some for item in intake.recorded(some, split, twice)]
    coded = 2 * rejects.reasons.get("is not UTF-8", 0) > len(rejects.rows)
    rejects.judge(where, f"{'save it as UTF-8' if coded else 'check that --audio and --text belong together'}{_example(rejects)}")
    return items


def _example(rejects: Rejects) -> str:
    """The first item that cannot be used: the place of its line, or its id and what it is."""
    for _, _, utt, what in rejects.rows[:1]:
        return f", {what if utt == '-' else f'{utt} ({what[:SHOWN]})'} for one"
    return ""


def existing(path: Path, folder_wanted: bool) -> Path:
    """The absolute path of what is there and can be written into a configuration."""
    if not (os.path.isdir(path) if folder_wanted else os.path.isfile(path)):  # which also say no to what no file system can name
        what = "folder" if folder_wanted else "file"
        raise UserError(f"is no {what}" if os.path.exists(path) else f"no such {what}", path, "check --audio, --text and --sentences")
    if "${" in str(path.absolute()):
        raise UserError("holds ${, which configurations replace", path, "rename it")
    return Path(os.path.abspath(path))


def target_of(name: str) -> Path:
    """Where the recipe goes."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a corpus", "egs", "use letters, digits, - and _")
    if (ROOT / "egs" / name).exists():
        raise UserError("exists already", ROOT / "egs" / name, "choose another name, or remove it")
    return ROOT / "egs" / name


def main(options: argparse.Namespace) -> int:
    """Writes egs/NAME and prints what is in it.

    Raises:
        UserError: no such folder or file, a name that is taken, or too little that can be used.
    """
    target, audio = target_of(options.name), existing(options.audio, True)
    text = existing(options.text, False) if options.text else None
    rows = list(folder.read(audio, text))
    speakers = speakers_of(rows, audio)
    if speakers == "folder":
        rows = list(folder.read(audio, text, speakers))
    sample = "".join(utt.text or "" for _, utt in islice(rows, 2000) if isinstance(utt, Utterance))
    code, script = language(options.lang, sample), language(None, sample)
    features = Features(**{**read_yaml(ROOT / "conf/base.yaml")["features"], "max_seconds": LONGEST})
    intake = Intake(spelling(code), features, Rejects(), ("test", "dev") if named_splits(rows) else ())
    items = usable(rows, intake, text or audio)
    alphabet = Counter(token for item in items for token in item.tokens.split())
    if len(alphabet) < 2:
        raise UserError(f"every text is spelled with {', '.join(map(repr, alphabet))} alone", text or audio, "check it, and --lang")
    choice: dict[str, Any] = {"audio": str(audio), "text": str(text) if text else None, "speakers": speakers, "shares": SHARES}
    choice |= {"speech_only": any(not item.tokens for item in items)}
    choice |= {"sentences": str(existing(options.sentences, False))} if options.sentences else {}
    made = plan(items, rows, choice, intake)
    if options.sentences:
        intake.rejects.judge(options.sentences, "mend the sentences; digits must be written out, for one")
    write(target, code, made, items, intake.rejects)
    tell(options.name, code, made, items, intake, alphabet)
    if code != script and "cmn" in (code, script):
        print(f"look again: --lang {options.lang} spells by {code}, the script of the transcript asks for {script}")
    return 0


def tell(name: str, code: str, made: Plan, items: list[Item], intake: Intake, alphabet: Counter[str]) -> None:
    """The summary, for the eye."""
    spks = Counter(item.utt.spk for item in items if item.utt.spk != NOBODY)
    silent = sum(not item.tokens for item in items)
    median = statistics.median(item.utt.seconds or 0.0 for item in items)
    rare = sorted(token for token, n in alphabet.items() if n < 3)
    left = ", ".join(f"{n} {reason}" for reason, n in intake.rejects.reasons.items())
    print(f"egs/{name}")
    alone = f", {silent} without text" if silent else ""
    print(f"  speech    {len(items)} recordings, {hours(items):.2f} h, {median:.1f} s each (median){alone}")
    print(f"  rates     {'; '.join(f'{n} at {kind}' for kind, n in intake.kinds.most_common())}")
    print(f"  speakers  {len(spks)} (from the {made.options['speakers']}){_below(made, items)}" if spks else "  speakers  not known")
    print(f"  spelling  {code}: {len(alphabet)} tokens: {' '.join(sorted(alphabet)[:80])}{' ...' * (len(alphabet) > 80)}")
    if rare:
        print(f"  rare      {len(rare)} tokens stand fewer than three times: {' '.join(rare[:40])}{' ...' * (len(rare) > 40)}")
    if intake.tagged:
        print(f"  brackets  {intake.tagged}")
    print(f"  left out  {len(intake.rejects.rows)}" + (f" ({left}): egs/{name}/rejected.tsv" if left else ""))
    print(f"  split     by {made.options['split']}: {made.why}")
    print(f"  pools     {sizes(made)}")
    strange = {token for item in made.pools["text"] for token in item.tokens.split()} - alphabet.keys()
    if strange:
        print(f"  strange   {len(strange)} kinds of tokens of the text pool are in no recording: {' '.join(sorted(strange)[:40])}")
    print(f"now: ./run.sh --corpus {name}")


def _below(made: Plan, items: list[Item]) -> str:
    """Where folders inside those of the speakers are many more: perhaps they are the speakers."""
    if made.options["speakers"] != "folder":
        return ""
    folders = {item.utt.wav.relative_to(made.options["audio"]).parts[:-1] for item in items if item.utt.wav}
    spks = {item.utt.spk for item in items}
    inside = {parts for parts in folders if len(parts) > 1}
    more = len(inside) > 3 * len(spks) and len(spks) < FEW
    return f"; {len(inside)} folders lie inside: if those are the speakers, say so in a column of the transcript" if more else ""
