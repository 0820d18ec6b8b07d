"""Sound and spectrograms small enough to lie inside a page, as data: addresses."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cycle.data.features import read_audio, trim
from cycle.models.vocoder import griffin_lim
from cycle.settings import Features

Array = NDArray[np.float32]
LONGEST = 12.0  # seconds; what is longer is cut, for the page's sake
PEAK = 0.9


def address(kind: str, data: bytes) -> str:
    """A data: address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def recording(path: Path, conf: Features) -> str:
    """A recording as the models hear it: mono, resampled, silence cut.

    Raises:
        UserError: it cannot be read.
    """
    samples = trim(read_audio(path, conf.fs), conf)
    peak = float(np.abs(samples).max(initial=0.0))
    return player(samples * (PEAK / peak) if peak > 0 else samples, conf.fs)


def rendered(feats: Array, conf: Features) -> str:
    """Features made audible by Griffin-Lim, whose phases begin with a fixed seed."""
    return player(griffin_lim(np.nan_to_num(feats), conf), conf.fs)


def player(samples: Array, fs: int) -> str:
    """Samples as MP3, a tenth of a WAV; unlike Ogg it carries no number drawn by chance."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples[: int(LONGEST * fs)], fs, format="MP3", subtype="MPEG_LAYER_III")
    return address("audio/mpeg", out.getvalue())


def spectrogram(feats: Array) -> str:
    """(T, M) features as a small picture, low frequencies below."""
    from matplotlib import image

    values, out = np.nan_to_num(feats).T, io.BytesIO()
    low, high = float(np.quantile(values, 0.05)), float(values.max(initial=1.0))
    image.imsave(out, values, vmin=low, vmax=max(high, low + 1e-6), cmap="magma", origin="lower", format="png", metadata={"Software": None})
    return address("image/png", out.getvalue())
