"""The command line that an experiment has noted, as it can be typed again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

ONCE = {"--stage": 1, "--stop-stage": 1, "--redo": 0}  # what belongs to one call, and how many words follow it


def again(words: Sequence[str], folder: str | None = None) -> str:
    """The call of ./run.sh that goes on with the experiment to its end.

    Args:
        words: as noted: a verb, options, and settings behind --.
        folder: the experiment's; None: as it was typed.
    """
    options, settings = _parted(words[1:])
    kept = list(_without(options, ONCE if folder is None else ONCE | {"--exp": 1}))
    exp = [] if folder is None else ["--exp", folder]
    return shlex.join(["./run.sh", *kept, *exp, *settings])


def folder_of(words: Sequence[str], corpus: str) -> str:
    """Where a noted command line has put its experiment."""
    options, _ = _parted(words[1:])
    for word, after in zip(options, [*options[1:], ""], strict=False):
        if word == "--exp" or word.startswith("--exp="):
            return after if word == "--exp" else word.removeprefix("--exp=")
    return f"exp/{corpus}"


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    cut = list(words).index("--") if "--" in words else len(words)
    return list(words[:cut]), list(words[cut:])


def _without(options: Sequence[str], names: dict[str, int]) -> Iterator[str]:
    passed = 0
    for word in options:
        name, equals, _ = word.partition("=")
        if passed:
            passed -= 1
        elif name in names:
            passed = 0 if equals else names[name]
        else:
            yield word
