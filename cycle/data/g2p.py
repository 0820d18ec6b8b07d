"""Mandarin readings: hanzi to toned pinyin by pypinyin's phrase dictionary, split strictly into initials, finals and tones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from pypinyin import Style, lazy_pinyin
from pypinyin.constants import PINYIN_DICT
from pypinyin.style import convert

from cycle.errors import UserError

INITIALS = frozenset(["b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh", "r", "z", "c", "s"])
NEUTRAL = "5"
TONES = "012345"

_DIGITS = "零一二三四五六七八九"
_UNITS = ("", "十", "百", "千")
_BETWEEN = re.compile(r"\d\s*([:/~\-–—])\s*(?=\d)", re.ASCII)  # times, fractions, ranges, dates: what is said is not written
_NUMBER = re.compile(r"(\d{1,3}(?:,\d{3}){1,5}(?![\d,])|\d+)(?:\.(\d+))?(%?)(?=(年?))", re.ASCII)
_SPOKEN = set("%@#&*§†‡‰")  # punctuation by category, yet read aloud


class NoReading(UserError):
    """A text with a character or word that has no reading; `char` is it."""

    def __init__(self, char: str, text: str):
        self.char = char
        name = f" (U+{ord(char):04X}, {unicodedata.name(char, 'no name')})" if len(char) == 1 else ""
        super().__init__(f"{char!r}{name} in {text[:60]!r} has no reading", None, "spell it out or leave the item out")


def _large(digits: str) -> str:
    """Up to 16 digits, in groups of four: 12000 is 一万二千."""
    out, gap = "", False
    for power in range((len(digits) - 1) // 4, -1, -1):
        group = digits[max(0, len(digits) - 4 * power - 4) : len(digits) - 4 * power]
        if int(group):
            said = _cardinal(group.lstrip("0"))
            if out and said.startswith("十"):
                said = "一" + said
            out += ("零" if out and (gap or group[0] == "0") else "") + said + ("", "万", "亿", "万亿")[power]
        gap = not int(group)
    return out or "零"


def _cardinal(digits: str) -> str:
    """Up to four digits, as they are counted: 105 is 一百零五."""
    out, skipped = "", False
    for power, digit in zip(range(len(digits) - 1, -1, -1), digits, strict=True):
        if digit == "0":
            skipped = bool(out)
            continue
        out += ("零" if skipped else "") + _DIGITS[int(digit)] + _UNITS[power]
        skipped = False
    return out.removeprefix("一") if out.startswith("一十") else out or "零"


def _number(match: re.Match[str]) -> str:
    whole, fraction, percent, year = match.groups()
    counted = len(whole) <= 4 and (len(whole) == 1 or whole[0] != "0") and not (year and len(whole) == 4)
    counted |= "," in whole
    said = _large(whole.replace(",", "")) if counted else "".join(_DIGITS[int(d)] for d in whole)
    if fraction:
        said += "点" + "".join(_DIGITS[int(d)] for d in fraction)
    return ("百分之" if percent else "") + said


def normalize(text: str) -> str:
    """Hanzi and Latin capitals: NFKC, numbers read out (digit by digit from five digits on without commas, and in years), punctuation and
    spaces dropped.

    Raises:
        NoReading: a symbol that would be spoken, a letter of another alphabet, a character pypinyin does not know, or a time, a fraction or
            a range in digits.
    """
    plain = unicodedata.normalize("NFKC", text)
    if between := _BETWEEN.search(plain):
        raise NoReading(between[1], text)
    spoken = _NUMBER.sub(_number, plain)
    out = []
    for char in spoken:
        if ord(char) in PINYIN_DICT:
            out.append(char)
        elif char.isascii() and char.isalpha():
            out.append(char.upper())
        elif char == "~" or (unicodedata.category(char)[0] in "PZC" and char not in _SPOKEN):
            continue
        else:
            raise NoReading(char, text)
    return "".join(out)


@cache
def split(syllable: str) -> tuple[str, ...]:
    """("zh", "ong", "1") of "zhōng"; no initial where there is none: ("iou", "3") of "yǒu"; Latin capitals one by one."""
    if syllable.isascii() and syllable.isupper():
        return tuple(syllable)
    initial = convert(syllable, Style.INITIALS, strict=True)
    final = convert(syllable, Style.FINALS_TONE3, strict=True)
    tone = final[-1] if final[-1:].isdigit() else NEUTRAL
    return (*([initial] if initial else []), final.rstrip(TONES), tone)


def readings(text: str) -> list[str]:
    """One toned syllable with diacritics per hanzi, runs of Latin capitals as they are; `text` is normalized. Phrases decide between
    readings."""
    return lazy_pinyin(text, style=Style.TONE)


def numbered(text: str) -> list[str]:
    """Syllables in everyday pinyin with a tone digit: ["zhong1", "guo2"]; `text` is normalized."""
    plain = (convert(syllable, Style.TONE3, strict=True) for syllable in readings(text))
    return [syllable if syllable[-1:].isdigit() else syllable + NEUTRAL for syllable in plain]


def tokens(text: str) -> list[str]:
    """Initials, finals and tones of a text: 中国 is zh ong 1 g uo 2.

    A tone is a token of its own: few recordings hold most finals, but not each of them in every tone (docs/cycle.md has numbers).

    Raises:
        NoReading: as `normalize`.
    """
    return [token for syllable in readings(normalize(text)) for token in split(syllable)]


def syllables(spelled: Iterable[str]) -> list[str]:
    """Joins initial, final and tone; what stands alone is a unit of its own, so any output can be scored."""
    out: list[str] = []
    unit = ""  # open: an initial, or a final that waits for its tone
    for token in spelled:
        final = token.rstrip(TONES)
        if not final or (unit in INITIALS and final not in INITIALS and _pinyin(final)):
            unit += token
        else:
            out += [unit] if unit else []
            unit = token
        if not _pinyin(unit):  # its tone is there, or it takes none
            out.append(unit)
            unit = ""
    return out + ([unit] if unit else [])


def _pinyin(unit: str) -> bool:
    return unit.isalpha() and unit.islower()


def toneless(spelled: Iterable[str]) -> list[str]:
    """Syllables without their tone digit."""
    return [unit.rstrip(TONES) or unit for unit in syllables(spelled)]
