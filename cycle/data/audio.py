"""What a recording must be to be used: readable to the end, not empty, not silent, of sensible length."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

SILENCE = 1e-4  # of full scale (-80 dB): below this everywhere, nothing was recorded
SUBSAMPLING = 4  # the coarsest encoder of ESPnet's defaults; finer ones ask for less


class BadAudio(ValueError):
    """A recording that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Recording:
    """What a file holds: length in seconds, rate in Hz, number of channels."""

    seconds: float
    fs: int
    channels: int


def inspect(path: Path, max_seconds: float = float("inf")) -> Recording:
    """Decodes a recording to its end.

    Raises:
        BadAudio: missing, empty, unreadable, too long, silent, or with values that are no numbers.
    """
    try:
        if path.stat().st_size == 0:
            raise BadAudio("empty file")
        with soundfile.SoundFile(path) as file:
            if file.frames > max_seconds * file.samplerate:  # before an hour is decoded
                raise BadAudio(f"longer than {max_seconds:g} s")
            samples, fs = file.read(dtype="float32", always_2d=True), file.samplerate
    except FileNotFoundError as error:
        raise BadAudio("no such file") from error
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise BadAudio("unreadable audio") from error
    if len(samples) == 0:
        raise BadAudio("zero length")
    if not np.isfinite(samples).all():
        raise BadAudio("not a number in the samples")
    if len(samples) > max_seconds * fs:
        raise BadAudio(f"longer than {max_seconds:g} s")
    if np.abs(samples).max() < SILENCE:
        raise BadAudio("silent")
    return Recording(len(samples) / fs, fs, samples.shape[1])


def too_short(seconds: float, tokens: list[str], fs: int = 16000, hop: int = 256) -> bool:
    """Whether CTC has no path: fewer encoder frames than tokens and the blanks between equal neighbours."""
    frames = (1 + int(seconds * fs) // hop) // SUBSAMPLING
    repeats = sum(a == b for a, b in pairwise(tokens))
    return frames < len(tokens) + repeats
