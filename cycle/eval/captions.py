"""How good captions are against several references each, by `pycocoevalcap`: CIDEr-D, BLEU, ROUGE-L; and what they look like.

The texts are spelled already (`cycle.data.text.Captions`): words parted by single spaces. Document frequencies are those of the references
given here. SPICE, and with it SPIDEr, is left out: it needs Java and a parser that downloads itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from cycle.errors import UserError


@dataclass(frozen=True)
class Scores:
    """Figures of a set of captions.

    Attributes:
        overall: cider_d (0 to 10, the literature prints it times 100), bleu_1 to bleu_4 of the whole set, rouge_l.
        cider_d: of each clip.
    """

    overall: dict[str, float]
    cider_d: dict[str, float]


def scores(references: Mapping[str, Sequence[str]], captions: Mapping[str, str]) -> Scores:
    """Scores one caption of each clip.

    Args:
        references: spelled texts by clip.
        captions: spelled, for the same clips; an empty one scores nothing.

    Raises:
        UserError: other clips on one side, a clip without references, or fewer than two clips.
    """
    _comparable(references, captions)
    truth = {clip: [text for text in references[clip] if text.split()] for clip in captions}
    said = {clip: [caption] for clip, caption in captions.items()}
    cider, each = Cider().compute_score(truth, said)
    bleu, _ = Bleu(4).compute_score(truth, said, verbose=0)
    rouge, _ = Rouge().compute_score(truth, said)
    overall = {"cider_d": float(cider), **{f"bleu_{n}": float(b) for n, b in enumerate(bleu, 1)}, "rouge_l": float(rouge)}
    return Scores(overall, {clip: float(value) for clip, value in zip(truth, each, strict=True)})


def _comparable(references: Mapping[str, Sequence[str]], captions: Mapping[str, str]) -> None:
    if not captions:
        raise UserError("there are no captions to score", None, "give one for each clip")
    for clip in sorted(captions.keys() ^ references.keys()):
        side = "references" if clip in captions else "a caption"
        raise UserError(f"clip {clip!r} has no {side.removeprefix('a ')}", None, f"give {side}, or leave it out of both sides")
    if len(captions) < 2:
        raise UserError("CIDEr-D needs two clips: with one, every word is in every clip and weighs nothing", None, "give more clips")
    for clip, texts in references.items():
        if not any(text.split() for text in texts):
            raise UserError(f"all references of clip {clip!r} are empty", None, "write one, or leave the clip out")


def shape(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """What captions look like, which no score tells.

    Returns:
        length: words a caption; distinct: different captions in the set; words: different words in the set;
        repeated: share of captions that say a word twice in a row, or three words in a row again;
        cut: share of captions that end in a word which ends no reference: most of them stop in the middle; so does an empty one.
    """
    spoken = [caption.split() for caption in captions]
    ends = {words[-1] for texts in references for text in texts if (words := text.split())}
    return {
        "length": round(sum(map(len, spoken)) / len(spoken), 4),
        "distinct": len(set(captions)),
        "words": len({word for words in spoken for word in words}),
        "repeated": round(sum(map(repeats, spoken)) / len(spoken), 4),
        "cut": round(sum(not words or words[-1] not in ends for words in spoken) / len(spoken), 4),
    }


def repeats(words: Sequence[str]) -> bool:
    """Whether a word stands twice in a row, or three words in a row are said again."""
    threes = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(threes)) < len(threes) or any(a == b for a, b in pairwise(words))
