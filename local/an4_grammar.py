"""Sentences as AN4's speakers were asked to say them: commands, spelled strings, numbers and dates; none is taken from its transcripts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from cycle.data.kaldi import NOBODY
from cycle.data.types import Utterance

ONES = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]
TEENS = ["TEN", "ELEVEN", "TWELVE", "THIRTEEN", "FOURTEEN", "FIFTEEN", "SIXTEEN", "SEVENTEEN", "EIGHTEEN", "NINETEEN"]
TENS = ["TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY"]
MONTHS = ["JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"]
UNITS = ["FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH", "SEVENTH", "EIGHTH", "NINTH"]
TEENTHS = ["TENTH", "ELEVENTH", "TWELFTH", *(f"{teen}TH" for teen in TEENS[3:])]
DAYS = [*UNITS, *TEENTHS, "TWENTIETH", *(f"TWENTY {unit}" for unit in UNITS), "THIRTIETH", "THIRTY FIRST"]
COMMANDS = ["ENTER", "ERASE", "RUBOUT", "REPEAT", "STOP", "START", "HELP", "GO", "YES", "NO"]
SPELLED = "EEEEEAAAARRRRIIIIOOOOTTTNNNSSSLLLCCHHDDUUMMPPBBGGKFWYVXZJQ"  # English names: how often each letter comes


def two_digits(chance: random.Random) -> str:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(TEENS)
    return chance.choice(TENS) + (f" {chance.choice(ONES[1:])}" if kind > 1 else "")


def digits(chance: random.Random, low: int, high: int) -> str:
    return " ".join(chance.choice([*ONES, "OH"]) for _ in range(chance.randint(low, high)))


def letters(chance: random.Random, low: int, high: int) -> str:
    return " ".join(chance.choice(SPELLED) for _ in range(chance.randint(low, high)))


def sentence(chance: random.Random) -> str:
    """One sentence of a kind drawn at random."""
    kind = chance.randrange(20)
    if kind < 7:  # as the census form asked: names, streets, towns
        return letters(chance, 2, 10)
    if kind < 10:
        return digits(chance, 3, 7)
    if kind < 12:
        return " ".join(two_digits(chance) for _ in range(chance.randint(1, 3)))
    if kind < 14:
        return f"{chance.choice(MONTHS)} {chance.choice(DAYS)} NINETEEN {two_digits(chance)}"
    if kind < 15:
        return f"{chance.choice(ONES[1:])} HUNDRED AND {two_digits(chance)}"
    if kind < 16:
        return chance.choice(COMMANDS)
    number = two_digits(chance) if chance.random() < 0.5 else digits(chance, 1, 4)
    return " ".join(part for part in (chance.choice([*COMMANDS[:3], ""]), letters(chance, 1, 5), number) if part)


def sentences(count: int, seed: int = 1) -> Iterator[Utterance]:
    """The same sentences for the same seed, some of them twice."""
    chance = random.Random(seed)
    return (Utterance(f"text-{n:06d}", NOBODY, None, sentence(chance)) for n in range(count))
