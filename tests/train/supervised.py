"""Milliseconds of a supervised step of preset=gpu on made-up words: `python -m tests.train.supervised cuda|cpu STEPS`.

Both models, bf16 and single precision (on a GPU TF32), step by step and, on a GPU, replayed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from cycle.bench.floor import timed
from cycle.config import load
from cycle.data.features import FeatureStore, ShardWriter
from cycle.device import fabric
from cycle.exchange.pools import recorded
from cycle.models.pair import build_asr, build_tts
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.objectives.base import Models
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.settings import Optimizer, Run
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream

WORDS, TOKENS, MELS = 1500, 59, 80


def words(folder: Path) -> Stream:
    """Made-up recordings of 60 to 109 frames and four to eight tokens."""
    rng, writer = np.random.default_rng(0), ShardWriter(folder, 0)
    for n in range(WORDS):
        frames, text = int(rng.integers(60, 110)), " ".join(f"t{token}" for token in rng.integers(0, TOKENS, rng.integers(4, 9)))
        feats = rng.normal(size=(frames, MELS)).astype(np.float32)
        writer.add(f"u{n}", feats, np.full(frames, 5.0, np.float32), spk="s1", text=text)
    writer.close()
    stream = recorded("paired", FeatureStore(folder))
    stream.durations = [_even(int(frames), len(text.split()) + 1) for text, frames in zip(stream.texts, stream.frames, strict=True)]
    return stream


def _even(frames: int, parts: int) -> Any:
    durations = np.full(parts, frames // parts)
    durations[-1] += frames - durations.sum()
    return durations


def step(name: str, precision: str, graphs: bool, stream: Stream, device: str, steps: int) -> float:
    """Seconds of a step, once each shape has come."""
    conf, runner = load("hsk", "cycle", ["preset=gpu", f"precision={precision}"], device), fabric(device, precision)
    vocabulary = Vocabulary.of(stream.texts)
    voices = Voices(np.array(["s1"]), (5.0, 1.0), (0.0, 1.0), None)
    torch.manual_seed(1)
    model: Any = build_asr(conf, vocabulary) if name == "asr" else build_tts(conf, vocabulary, voices)
    model.to(runner.device).train().use_graphs(graphs)
    for network in model.graphs.values():
        network.after = 0
    objective = AsrSupervised() if name == "asr" else TtsSupervised()
    frames = conf.rounds.objectives[f"{name}_supervised"].batch_frames
    tasks = [Task(name, objective, Mixture({"paired": stream}, {"paired": 1.0}, frames, 1, even=True))]
    with TemporaryDirectory() as folder:
        place, run = Path(folder), Run(1e9, 20, 1)
        trainer = Trainer(place, place, "x", Models(model, model), {name: (model, Optimizer(lr=1e-4))}, tasks, steps, 1, run, runner)
        trainer.fit()
        return timed(trainer.fit, device)[0] / steps


def main(device: str, steps: str) -> None:
    with TemporaryDirectory() as folder:
        stream = words(Path(folder) / "feats")
        for precision in ("bf16", "32"):
            for name in ("asr", "tts"):
                for graphs in (False, True) if device == "cuda" else (False,):
                    took = step(name, precision, graphs, stream, device, int(steps))
                    print(f"{precision:5}{name} {'replayed' if graphs else 'step by step'}: {1000 * took:.1f} ms", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
