"""What a new corpus is: its language, its speakers, its splits, and sizes that it can fill."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cycle.data import folder, pool
from cycle.data.intake import Intake
from cycle.data.kaldi import NOBODY
from cycle.data.pool import Item
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError

MANDARIN = ("cmn", "zh", "zho", "chi", "mandarin", "chinese")
TURKIC = ("tr", "tur", "turkish", "az", "aze", "azj", "azb", "azerbaijani")
# No spaces between words.
UNSPACED = ("ja", "jp", "jpn", "japanese", "th", "tha", "thai", "lo", "lao", "km", "khm", "khmer", "my", "mya", "burmese", "bo", "bod",
            "tibetan", "yue", "cantonese", "wuu", "nan", "hak", "gan", "hsn", "cdo")  # fmt: skip
SCRIPTS = ("HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
SHARES = {"test": 0.1, "dev": 0.1}  # of the speakers
MOST_TEXT = 40_000  # sentences of the text pool


@dataclass
class Plan:
    """What goes into the recipe.

    Attributes:
        options: of egs/NAME/conf.yaml.
        splits: the names that the recipe's `utterances` answers to.
        pools: what stage 1 will make of it.
        sizes: utterances by pool, None for everything that a split holds.
        why: the reason for the kind of split.
    """

    options: dict[str, Any]
    splits: tuple[str, ...]
    pools: dict[str, list[Item]]
    sizes: dict[str, int | None]
    why: str


def language(code: str | None, sample: str) -> str:
    """The spelling for a language code; without one, what the script of a sample asks for."""
    if code is not None:
        if not re.fullmatch(r"[A-Za-z]{2,12}([-_][A-Za-z0-9]{1,8})*", code):
            raise UserError(f"{code!r} is no language code", "--lang", "write one such as en, de, cmn")
        start = re.split("[-_]", code.lower())[0]
        known = {"cmn": MANDARIN, "turkic": TURKIC, "characters": (*UNSPACED, "characters")}
        return next((spelled for spelled, codes in known.items() if start in codes), "letters")
    names = Counter(unicodedata.name(char, "").split(" ")[0] for char in sample if unicodedata.category(char)[0] == "L")
    if sum(names[script] for script in SCRIPTS) > 0.2 * names.total():
        return "characters"
    return "cmn" if names["CJK"] > 0.3 * names.total() else "letters"


def speakers_of(rows: list[folder.Row], audio: Path) -> str:
    """Where the speakers stand: in the transcript, in the names of folders, or nowhere.

    Args:
        rows: what `folder.read` finds below `audio` with the transcript's speakers.
    """
    heard = {utt.wav: utt.spk for _, utt in rows if isinstance(utt, Utterance) and utt.wav is not None}
    if set(heard.values()) - {NOBODY}:
        return "transcript"
    if folder.kaldi_folders(audio):
        return "unknown"
    return "unknown" if folder.speaker_level(wav.relative_to(audio).as_posix() for wav in heard) is None else "folder"


def divide(items: list[Item], rows: list[folder.Row], options: dict[str, Any]) -> dict[str, list[Item]]:
    """The usable items by split, as the recipe will give them."""
    roles = {utt.utt_id: role for (_, utt), role in zip(rows, folder.roles_of(rows, options), strict=True) if isinstance(utt, Utterance)}
    splits: dict[str, list[Item]] = {}
    for item in items:
        if role := roles[item.utt.utt_id]:
            splits.setdefault(role, []).append(item)
    return splits


def named_splits(rows: list[folder.Row]) -> bool:
    """Whether directories are named for training and test; their evaluation sets then stand as they are."""
    return {folder.role_of(name) for name, _ in rows} >= {"train", "test"}


def split_for(items: list[Item], rows: list[folder.Row], options: dict[str, Any]) -> tuple[str, str]:
    """The kind of split, and why.

    By speaker where four or more are known and enough training is left once it says nothing that dev and test say.
    """
    if named_splits(rows):
        return "folder", "as the directories are named"
    spks = {item.utt.spk for item in items if item.tokens} - {NOBODY}
    if len(spks) < 4:
        return "text", f"{len(spks) or 'no'} known speaker{'s' if len(spks) != 1 else ''}"
    splits = divide(items, rows, {**options, "split": "speaker"})
    secret = {item.tokens for name in SHARES for item in splits.get(name, [])}
    training = splits.get("train", [])
    left = sum(item.tokens not in secret for item in training)
    if not all(splits.get(name) for name in SHARES) or len(training) < len(items) / 2:
        return "text", "a few speakers say most of it"
    if left < 0.6 * len(training):
        return "text", "the speakers say the same sentences"
    return "speaker", f"{len(spks)} speakers"


def plan(items: list[Item], rows: list[folder.Row], options: dict[str, Any], intake: Intake) -> Plan:
    """Splits and sizes that the usable items can fill.

    Raises:
        UserError: too few of them.
    """
    kind, why = split_for(items, rows, options)
    options = {**options, "split": kind}
    splits: dict[str, Any] = divide(items, rows, options)
    if kind == "folder":
        options["official"] = [name for name in ("dev", "test") if name in splits]
    wanted = wish(splits, "sentences" in options)
    if "sentences" in options:
        splits["text"] = intake.texts(folder.utterances(Path(), "text", options))
    pools = pool.assign(splits, wanted, options.get("official", ()), sample=True)
    sizes = {name: None if wanted[name] is None else len(pools[name]) for name in POOLS}
    names = ("all", "train", "test", "dev", "speech", "text")
    return Plan(options, tuple(name for name in names if name in splits), pools, sizes, why)


def wish(splits: dict[str, Any], sentences: bool) -> dict[str, int | None]:
    """Sizes to ask for: evaluation first, then a few pairs, much speech and much text."""
    rest = len(splits.get("all", [])) + len(splits.get("train", []))
    sizes: dict[str, int | None] = {}
    for name, most in (("test", 1000), ("dev", 300)):
        sizes[name] = None if name in splits else max(1, min(most, rest // 10))
    rest -= sum(size or 0 for size in sizes.values())
    paired = max(1, round(rest * (0.3 if "speech" not in splits else 0.6)))
    speech = None if "speech" in splits else max(1, round(rest * (0.45 if not sentences else 0.7)))
    return sizes | {"paired": paired, "speech": speech, "text": MOST_TEXT if sentences else max(1, rest - paired - (speech or 0))}
