"""The corpus `scenes`: acoustic scenes mixed on the spot, in the layout of a captioning corpus: folders of audio, each with a CSV."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from cycle.files import atomic_write
from local.scene_grammar import Event, Scene, captions, scene
from local.sound_events import FS, Wave, sound

GAIN = {"loud": (0.75, 0.95), "plain": (0.3, 0.45), "faint": (0.06, 0.12)}  # peak, of full scale
BEHIND = (0.08, 0.16)
HEADER = ("file_name", *(f"caption_{n}" for n in range(1, 6)))


@dataclass(frozen=True)
class Clip:
    name: str
    scene: Scene
    captions: tuple[str, ...]
    seed: int  # of its sound


def clip(split: str, number: int, seed: int) -> Clip:
    """Clip `number` of a split; it depends on nothing else, so that a smaller corpus is the beginning of a larger one."""
    own = int.from_bytes(hashlib.sha256(f"scenes/1 {seed} {split} {number}".encode()).digest()[:6], "big")
    chance = random.Random(own)
    heard = scene(chance)
    return Clip(f"{split}_{number:05d}.wav", heard, tuple(captions(heard, chance)), own)


def mix(heard: Scene, seed: int) -> Wave:
    """The sound of a scene: events in order with short gaps, over what goes on behind them, and a little hiss."""
    rng = np.random.default_rng(seed)
    parts: list[Wave] = []
    for event in heard.events:
        parts += [_level(event, rng, len(heard.events)), np.zeros(round(FS * rng.uniform(0.05, 0.25)))]
    wave = np.concatenate([np.zeros(round(FS * rng.uniform(0.05, 0.2))), *parts])
    if heard.behind:
        wave = wave + rng.uniform(*BEHIND) * sound(heard.behind.name, rng, len(wave) / FS, 1)[: len(wave)]
    wave = wave + 0.002 * rng.standard_normal(len(wave))
    return wave / max(1.0, float(np.abs(wave).max()) / 0.99)


def _level(event: Event, rng: np.random.Generator, count: int) -> Wave:
    seconds = rng.uniform(1.5, 2.0) if count == 1 else rng.uniform(0.9, 1.2)
    return rng.uniform(*GAIN[event.level]) * sound(event.name, rng, max(seconds, 0.4 * event.times), event.times)


def _write(job: tuple[Path, Clip]) -> None:
    folder, made = job
    soundfile.write(folder / made.name, mix(made.scene, made.seed), FS, subtype="PCM_16")


def make(folder: Path, sizes: Mapping[str, int], seed: int) -> None:
    """Writes `folder/SPLIT/*.wav` and `folder/captions_SPLIT.csv`."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        for split, size in sizes.items():
            clips = [clip(split, number, seed) for number in range(size)]
            (folder / split).mkdir(parents=True)
            list(workers.map(_write, [(folder / split, made) for made in clips], chunksize=64))
            with atomic_write(folder / f"captions_{split}.csv") as handle:
                csv.writer(handle, lineterminator="\n").writerows([HEADER, *((made.name, *made.captions) for made in clips)])
