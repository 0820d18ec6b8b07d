"""CIDEr-D in batches: how far a caption agrees with several references, rare n-grams counting more (Vedantam et al. 2015, arXiv:1411.5726).

The same numbers as `pycocoevalcap`'s, to rounding, but made for a training step: document frequencies once, n-grams of the references
once, and the document frequencies of one set may judge the captions of another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

ORDER = 4  # the longest n-gram
SIGMA = 6.0  # of the penalty on a difference in length
SCALE = 10.0

Gram = tuple[str, ...]
Counts = list[Counter[Gram]]  # by length of the n-gram


def ngrams(caption: str) -> Counts:
    """The n-grams of a caption, words parted by white space, for n from 1 to 4."""
    words = caption.split()
    return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, ORDER + 1)]


class DocumentFrequencies:
    """In how many clips an n-gram occurs: in any of a clip's references, counted once a clip.

    Args:
        references: the references of each clip. With a single clip every weight is ln 1 = 0, and so is every score.
    """

    def __init__(self, references: Iterable[Sequence[str]]):
        self.counts: Counter[Gram] = Counter()
        self.clips = 0
        for captions in references:
            self.clips += 1
            self.counts.update({gram for caption in captions for counts in ngrams(caption) for gram in counts})

    def weight(self, gram: Gram) -> float:
        """ln(clips / frequency); an n-gram that no reference holds counts as if one did."""
        return math.log(self.clips) - math.log(max(1, self.counts[gram])) if self.clips else 0.0

    def vector(self, counts: Counter[Gram]) -> tuple[dict[Gram, float], float]:
        """Frequency times weight of each n-gram of one length, and the norm over them."""
        weights = {gram: count * self.weight(gram) for gram, count in counts.items()}
        return weights, math.sqrt(sum(w * w for w in weights.values()))


class CiderD:
    """Judges captions of clips whose references it knows.

    Args:
        references: texts by clip, each with at least one.
        frequencies: whose document frequencies count; without them, those of `references`.

    Raises:
        ValueError: a clip without references.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], frequencies: DocumentFrequencies | None = None):
        if bare := [clip for clip, captions in references.items() if not captions]:
            raise ValueError(f"clip {bare[0]!r} has no references")
        self.references = references
        self.frequencies = frequencies or DocumentFrequencies(references.values())
        self._known: dict[str, list[_Reference]] = {}

    def __call__(self, captions: Sequence[str], clips: Sequence[str]) -> list[float]:
        """The score of each caption against the references of its clip, from 0 to 10.

        A caption that a batch holds several times for one clip is judged once.
        """
        pairs = list(zip(captions, clips, strict=True))
        found = {pair: self._score(*pair) for pair in dict.fromkeys(pairs)}
        return [found[pair] for pair in pairs]

    def _score(self, caption: str, clip: str) -> float:
        if clip not in self._known:
            self._known[clip] = [_Reference(text, self.frequencies) for text in self.references[clip]]
        counts = ngrams(caption)
        vectors = [self.frequencies.vector(c) for c in counts]
        pairs = counts[1].total()
        scores = [ref.similarity(vectors, pairs) for ref in self._known[clip]]
        return SCALE * sum(scores) / len(scores)


class _Reference:
    """One reference, its vectors made once."""

    def __init__(self, text: str, frequencies: DocumentFrequencies):
        counts = ngrams(text)
        self.vectors = [frequencies.vector(c) for c in counts]
        self.pairs = counts[1].total()

    def similarity(self, vectors: Sequence[tuple[dict[Gram, float], float]], pairs: int) -> float:
        """Mean over n of the clipped cosines, times the penalty for another length.

        Args:
            pairs: neighbouring words of the caption. The common implementation takes their number for the length; so do we.
        """
        total = 0.0
        for (ours, our_norm), (theirs, their_norm) in zip(vectors, self.vectors, strict=True):
            if our_norm and their_norm:
                shared = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in ours.items() if gram in theirs)
                total += shared / (our_norm * their_norm)
        return math.exp(-((pairs - self.pairs) ** 2) / (2 * SIGMA**2)) * total / ORDER


def others(references: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Each clip's first reference as a caption, and the others as its references: how far people agree with each other.

    Clips with a single reference are left out.
    """
    several = {clip: list(captions) for clip, captions in references.items() if len(captions) > 1}
    return {clip: captions[0] for clip, captions in several.items()}, {clip: captions[1:] for clip, captions in several.items()}
