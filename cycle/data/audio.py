"""What a recording must be to be used: readable to the end, not empty, not silent, not clipped, of sensible length."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

EXTENSIONS = frozenset([".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".sph", ".aiff", ".aif", ".au"])
SILENCE = 1e-4  # of full scale (-80 dB): below this everywhere, nothing was recorded
CLIPPED = 0.01  # share of the samples that may lie flat at the peak
SUBSAMPLING = 2  # the finest encoder of conf/asr; a coarser one passes over what it cannot align
SLOWEST = 5.0, 2.0  # seconds that a recording may last without a word, and per token


class BadAudio(ValueError):
    """A recording that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Recording:
    """What a file holds.

    Attributes:
        seconds: its length.
        fs: Hz.
        channels: how many.
        clipped: share of the samples that lie flat at the peak.
        digest: of the samples; two copies of one recording have the same, whatever their names.
    """

    seconds: float
    fs: int
    channels: int
    clipped: float = 0.0
    digest: str = ""


def inspect(path: Path, max_seconds: float = float("inf")) -> Recording:
    """Decodes a recording to its end.

    Raises:
        BadAudio: missing, empty, unreadable, too long, silent, or with values that are no numbers.
    """
    try:
        if not path.is_file():  # a named pipe would be waited for
            raise BadAudio("no such file" if not path.exists() else "unreadable audio")
        if path.stat().st_size == 0:
            raise BadAudio("empty file")
        with soundfile.SoundFile(path) as file:
            if file.frames > max_seconds * file.samplerate:  # before an hour is decoded
                raise BadAudio(f"longer than {max_seconds:g} s")
            samples, fs = file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise error if isinstance(error, BadAudio) else BadAudio("unreadable audio") from error
    if len(samples) == 0:
        raise BadAudio("zero length")
    if not np.isfinite(samples).all():
        raise BadAudio("not a number in the samples")
    if len(samples) > max_seconds * fs:
        raise BadAudio(f"longer than {max_seconds:g} s")
    if np.abs(samples).max() < SILENCE:
        raise BadAudio("silent")
    digest = hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=16).hexdigest()
    return Recording(len(samples) / fs, fs, samples.shape[1], clipping(samples), digest)


def clipping(samples: NDArray[np.float32]) -> float:
    """Share of the samples (N, channels) in runs of three and more at the peak; 0 where it is low, since noise of few bits is flat."""
    level = np.abs(samples).max(axis=1)
    if level.max() < 0.5:
        return 0.0
    top = np.concatenate([[False], level >= 0.999 * level.max(), [False]])
    edges = np.flatnonzero(top[1:] != top[:-1])
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= 3].sum() / len(level))


def too_short(seconds: float, tokens: list[str], fs: int, hop: int) -> bool:
    """Whether CTC has no path: fewer encoder frames than tokens and the blanks between equal neighbours."""
    frames = (1 + int(seconds * fs) // hop) // SUBSAMPLING
    repeats = sum(a == b for a, b in pairwise(tokens))
    return frames < len(tokens) + repeats


def too_long(seconds: float, tokens: list[str]) -> bool:
    """Whether there is much more to hear than the text says."""
    pause, slow = SLOWEST
    return seconds > pause + slow * len(tokens)
