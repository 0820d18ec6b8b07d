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
        metric: the name of the main figure in summary.json, e.g. "syllable_error_rate".
        higher_is_better: false for errors.
        read_aloud: the text is what is heard, so that its length says how long a recording can be; a caption only describes.
        rates: from a rate's name to what turns tokens into its units; the first is the metric's.
    """

    metric: str
    higher_is_better: bool
    read_aloud: bool
    rates: Mapping[str, Units]

    def normalize(self, text: str) -> str:
        """The text as it is spoken: no punctuation, numbers read out. Raises NoReading."""
        ...

    def spell(self, text: str) -> list[str]:
        """Tokens of a text in the corpus's own writing; empty where nothing is spoken. Raises NoReading."""
        ...


class Mandarin:
    """Pinyin initials, finals and tone digits, 5 the neutral tone; Latin letters, as in 卡拉OK, stand alone as capitals."""

    metric = "syllable_error_rate"
    higher_is_better = False
    read_aloud = True
    rates: Mapping[str, Units] = {"syllable": g2p.syllables, "token": list, "toneless": g2p.toneless}

    def normalize(self, text: str) -> str:
        return g2p.normalize(text)

    def spell(self, text: str) -> list[str]:
        return g2p.tokens(text)


def words(spelled: list[str]) -> list[str]:
    """Words of letters with a boundary between them; stray boundaries count for nothing."""
    return [word for word in "".join(" " if token == BOUNDARY else token for token in spelled).split(" ") if word]


ACCENTS = str.maketrans("´`", "''")  # typed for an apostrophe


class Letters:
    """Any alphabet: casefolded letters, with a boundary token between words; Hangul by its letters, not by its 11,172 syllables.

    Digits must be spelled out in the transcript.
    """

    metric = "word_error_rate"
    higher_is_better = False
    read_aloud = True
    rates: Mapping[str, Units] = {"word": words, "char": list}

    def normalize(self, text: str) -> str:
        out = []
        text = text.translate(ACCENTS)  # before NFKC, which would set them onto a space
        for char in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()):
            kind = unicodedata.category(char)[0]
            if kind in "LM":
                out.append(char)
            elif char in "'’":
                out.append("'")
            elif unicodedata.category(char) == "Cf":  # soft hyphens, joiners, direction marks: inside words, not between them
                continue
            elif kind in "PZC" and char not in "%@#&*":
                out.append(" ")
            else:
                raise NoReading(char, text)
        stripped = (word.strip("'") for word in "".join(out).split())
        return " ".join(word for word in stripped if word)

    def spell(self, text: str) -> list[str]:
        said = self.normalize(text).replace(" ", BOUNDARY)
        return [token for char in said for token in (unicodedata.normalize("NFD", char) if "가" <= char <= "힣" else char)]


class Turkic(Letters):
    """Turkish and Azerbaijani: the capitals of i and ı are İ and I."""

    def normalize(self, text: str) -> str:
        return super().normalize(unicodedata.normalize("NFC", text).replace("İ", "i").replace("I", "ı"))


def characters(spelled: list[str]) -> list[str]:
    """Tokens without the boundaries."""
    return [token for token in spelled if token != BOUNDARY]


class Characters(Letters):
    """Scripts that put no space between words (Japanese, Thai, Khmer, Lao, Burmese): the same tokens, counted one by one."""

    metric = "character_error_rate"
    rates: Mapping[str, Units] = {"char": characters}


class Captions:
    """Descriptions of what is heard: casefolded words, in any script. No Java: this stands in for the PTB tokeniser of the COCO tools.

    A word is a run of letters and digits, with apostrophes and hyphens inside it; Han, kana and Thai letters are words by themselves.
    Everything else parts words and is left out, so that quotes, commas and line breaks count for nothing.
    """

    metric = "cider_d"
    higher_is_better = True
    read_aloud = False
    rates: Mapping[str, Units] = {"word": list}

    def normalize(self, text: str) -> str:
        out = []
        for char in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()):
            if unicodedata.name(char, "").startswith(("CJK ", "HIRAGANA ", "KATAKANA ", "THAI CHARACTER ")) and char.isalpha():
                out.append(f" {char} ")
            elif unicodedata.category(char)[0] in "LMN" or char in "'-":
                out.append(char)
            elif char == "’":
                out.append("'")
            elif unicodedata.category(char) != "Cf":  # joiners and soft hyphens stand inside words
                out.append(" ")
        return " ".join(word for piece in "".join(out).split() if (word := piece.strip("'-")))

    def spell(self, text: str) -> list[str]:
        return self.normalize(text).split()


class Pronounced:
    """A language whose tokens are made by a recipe's own function, from the text as the language normalises it.

    Args:
        base: the language; its metric and rates count the tokens. Words are told apart by `BOUNDARY`, if the function puts it.
        pronounce: normalised text to tokens.
    """

    def __init__(self, base: Spelling, pronounce: Callable[[str], list[str]]):
        self.metric, self.rates, self.normalize, self.pronounce = base.metric, base.rates, base.normalize, pronounce
        self.higher_is_better, self.read_aloud = base.higher_is_better, base.read_aloud

    def spell(self, text: str) -> list[str]:
        """Tokens of a text.

        Raises:
            NoReading: the function found no entry for a word.
            UserError: it returned anything but words without white space.
        """
        try:
            tokens = self.pronounce(self.normalize(text))
        except KeyError as error:  # a lexicon's
            raise NoReading(str(error.args[0] if error.args else error), text) from error
        for token in tokens if isinstance(tokens, list) else [None]:
            if not isinstance(token, str) or token.split() != [token]:
                raise UserError(f"pronounce({text[:40]!r}) holds {token!r}", "egs/NAME/prepare.py", "let it return a list of tokens")
        return tokens


_SPELLINGS: dict[str, type[Mandarin | Letters | Captions]] = {
    "cmn": Mandarin,
    "letters": Letters,
    "characters": Characters,
    "turkic": Turkic,
    "captions": Captions,
}


def spelling(language: str) -> Spelling:
    """The spelling of a language code.

    Raises:
        UserError: unknown code; names the known ones.
    """
    if language not in _SPELLINGS:
        raise UserError(f"no spelling for language {language!r}", "corpus.language", f"choose one of: {', '.join(_SPELLINGS)}")
    return _SPELLINGS[language]()
