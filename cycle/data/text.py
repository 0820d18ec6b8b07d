"""How a language is spelled for the models, and the units its errors are counted in.

A model's text is always its tokens joined by single spaces, whatever the language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Protocol

from cycle.data import g2p
from cycle.errors import UserError

NoReading = g2p.NoReading
Units = Callable[[list[str]], list[str]]
BOUNDARY = "|"


class Spelling(Protocol):
    """One language.

    Attributes:
        metric: the name of the main rate in summary.json, e.g. "syllable_error_rate".
        rates: from a rate's name to what turns tokens into its units; the first is the metric's.
    """

    metric: str
    rates: Mapping[str, Units]

    def normalize(self, text: str) -> str:
        """The text as it is spoken: no punctuation, numbers read out. Raises NoReading."""
        ...

    def spell(self, text: str) -> list[str]:
        """Tokens of a text in the corpus's own writing; empty where nothing is spoken. Raises NoReading."""
        ...


class Mandarin:
    """Pinyin initials and finals; the tone digit is on the final, 5 is the neutral tone."""

    metric = "syllable_error_rate"
    rates: Mapping[str, Units] = {"syllable": g2p.syllables, "token": list, "toneless": g2p.toneless}

    def normalize(self, text: str) -> str:
        return g2p.normalize(text)

    def spell(self, text: str) -> list[str]:
        return g2p.tokens(text)


def words(spelled: list[str]) -> list[str]:
    """Words of letters with a boundary between them; stray boundaries count for nothing."""
    return [word for word in "".join(" " if token == BOUNDARY else token for token in spelled).split(" ") if word]


class Letters:
    """Any alphabet: casefolded letters, with a boundary token between words. Digits must be spelled out in the transcript."""

    metric = "word_error_rate"
    rates: Mapping[str, Units] = {"word": words, "char": list}

    def normalize(self, text: str) -> str:
        out = []
        for char in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()):
            kind = unicodedata.category(char)[0]
            if kind in "LM":
                out.append(char)
            elif char in "'’":
                out.append("'")
            elif kind in "PZC" and char not in "%@#&*":
                out.append(" ")
            else:
                raise NoReading(char, text)
        stripped = (word.strip("'") for word in "".join(out).split())
        return " ".join(word for word in stripped if word)

    def spell(self, text: str) -> list[str]:
        return list(self.normalize(text).replace(" ", BOUNDARY))


_SPELLINGS: dict[str, type[Mandarin | Letters]] = {"cmn": Mandarin, "letters": Letters}


def spelling(language: str) -> Spelling:
    """The spelling of a language code.

    Raises:
        UserError: unknown code; names the known ones.
    """
    if language not in _SPELLINGS:
        raise UserError(f"no spelling for language {language!r}", "corpus.language", f"choose one of: {', '.join(_SPELLINGS)}")
    return _SPELLINGS[language]()
