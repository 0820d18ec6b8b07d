"""The streams of a round: what each comes from, and what its utterances have. Recipes name them in `mix`, objectives say what they want."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One stream.

    Attributes:
        pool: whose utterances they are.
        has: of speech, text (whoever wrote it), durations (frames of each token) and lists (N-best, with a score of each).
        spoken: a synthesiser says them, is to say them, or has judged them: without one there are none.
    """

    pool: str
    has: frozenset[str]
    spoken: bool = False


STREAMS = {
    "paired": Kind("paired", frozenset({"speech", "text", "durations"})),
    "pseudo": Kind("speech", frozenset({"speech", "text", "durations"})),
    "speech": Kind("speech", frozenset({"speech", "text", "lists"}), spoken=True),
    "labelled": Kind("speech", frozenset({"speech", "text", "lists"})),
    "recordings": Kind("speech", frozenset({"speech"})),
    "synthetic": Kind("text", frozenset({"speech", "text"}), spoken=True),
    "text": Kind("text", frozenset({"text"}), spoken=True),
}


def having(*what: str) -> frozenset[str]:
    """The streams whose utterances have all of this."""
    return frozenset(name for name, kind in STREAMS.items() if kind.has.issuperset(what))


ALIGNED = having("speech", "text", "durations")
TEXTS = having("speech", "text")
HEARD = having("speech")
READ = having("text")
LISTED = having("lists")
OF_TTS = frozenset(name for name, kind in STREAMS.items() if kind.spoken)
