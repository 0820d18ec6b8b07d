"""What numbers of the configuration may be. Their types alone do not say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from cycle.errors import UserError

SEARCHES = ("decode", "lm", "rounds.label.search")
FREE = ("corpus.options.*", "*.args.*", "asr.conf.*", "tts.conf.*")  # read by others

# Keys by what they may be; a key that is in none of these groups is only finite.
FROM_ONE = (
    "features.fs", "features.n_fft", "features.hop", "features.n_mels",
    "*.updates", "*.batch_frames", "*.channels", "*.convs", "*.subsample",
    "voices.size", "voices.longest", "pools.paired", "pools.dev", "pools.test", "prior.order", "rounds.count", "rounds.objectives.*.every",
    *(f"{search}.{key}" for search in SEARCHES for key in ("beam", "top_k", "nbest")),
    "score.bootstrap", "run.log_every",
)  # fmt: skip
FROM_ZERO = (
    "features.fmin", "augment.*", "pools.*", "pretrain.*_updates", "*.layers", "*.label_prior", "*.weight_decay", "*.prior_weight",
    "rounds.label.judged", "rounds.speak.count", "rounds.speak.*_noise", "rounds.objectives.*.weight", "rounds.collapse_margin",
    "run.workers", "run.checkpoint_seconds",
)  # fmt: skip
ABOVE_ZERO = ("*.lr", "*.clip", "voices.temperature", "features.fmax", "features.trim_db", "features.max_seconds")
SHARES = ("*.warmup", "*.floor", "*.ema", "*.ctc_weight")  # 0 to 1
BEGINNINGS = ("rounds.objectives.*.start",)  # 0 to below 1


def _among(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def wanted(key: str, value: Any) -> str | None:
    """What a number should be and is not; None where there is nothing to say."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or _among(key, FREE):
        return None
    if not math.isfinite(value):
        return "write a finite number"
    if _among(key, FROM_ONE):
        return None if value >= 1 else "write a number from 1 on"
    if _among(key, FROM_ZERO):
        return None if value >= 0 else "write a number from 0 on"
    if _among(key, ABOVE_ZERO):
        return None if value > 0 else "write a number above 0"
    if _among(key, SHARES):
        return None if 0 <= value <= 1 else "write a number from 0 to 1"
    if _among(key, BEGINNINGS):
        return None if 0 <= value < 1 else "write a number from 0 to below 1"
    return None


def check(values: Mapping[str, Any]) -> None:
    """Looks at settings by dotted keys.

    Raises:
        UserError: a number that cannot be; names the key and what it may be.
    """
    for key, value in values.items():
        remedy = wanted(key, value)
        if remedy:
            raise UserError(f"{key}: {value}", None, remedy)
    fs, n_fft, hop, fmin, fmax = (values[f"features.{key}"] for key in ("fs", "n_fft", "hop", "fmin", "fmax"))
    if hop > n_fft:
        raise UserError(
            f"features.hop: {hop}", None, f"write at most features.n_fft ({n_fft}): what lies between windows would not be heard"
        )
    if not fmin < fmax <= fs / 2:
        raise UserError(
            f"features.fmax: {fmax}", None, f"write more than features.fmin ({fmin}) and at most half of features.fs ({fs / 2:g})"
        )
