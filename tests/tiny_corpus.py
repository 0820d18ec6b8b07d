"""Corpora small enough to be made by hand, in the layout of `mini`: WAV files and a file `text`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cycle.config import load
from cycle.experiment import Experiment
from cycle.settings import Corpus, Pools

# Ten sentences with different readings, of mini's world.
SENTENCES = ["我喝茶", "你喝水", "他吃饭", "我们看书", "老师写字", "医生买菜", "同学学汉语", "朋友画山", "哥哥找狗", "奶奶看花"]
SIZES = {"paired": 3, "speech": 3, "text": 5, "dev": 1, "test": 2}
OPTIONS = {"voices": ["f1", "m1"], "seed": 1}


def tone(path: Path, seconds: float = 1.5, fs: int = 16000, channels: int = 1, peak: float = 0.5) -> Path:
    """Writes something audible, another tone for another name: two files of one content would be one recording twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pitch = 200 + int(hashlib.sha256(path.stem.encode()).hexdigest()[:6], 16) / 2**24 * 300
    wave = peak * np.sin(2 * np.pi * pitch * np.arange(round(seconds * fs)) / fs)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), fs)
    return path


def corpus(folder: Path, texts: Mapping[str, str] | None = None) -> Path:
    """Recordings s-00.wav to s-09.wav with their sentences, or others by id."""
    texts = texts or {f"s-{n:02d}": text for n, text in enumerate(SENTENCES)}
    for key in texts:
        tone(folder / f"{key}.wav")
    (folder / "text").write_text("".join(f"{key} {text}\n" for key, text in texts.items()), encoding="utf-8")
    return folder


def experiment(path: Path, root: Path | None, name: str = "mini", options: dict[str, Any] | None = None, **sizes: int) -> Experiment:
    config = replace(load("mini", "cycle", [], "cpu"), corpus=Corpus("cmn", options or OPTIONS), pools=Pools(**{**SIZES, **sizes}))
    return Experiment(path, config, name, "cycle", root)
