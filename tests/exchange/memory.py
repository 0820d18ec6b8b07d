"""Resident memory of an exchange and a few batches over pools of N made-up utterances: `python -m tests.exchange.memory N FOLDER`.

The models are stand-ins that answer at once, so that a million utterances take minutes; everything around them is what a run uses.
Prints one JSON line.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from cycle.config import ROOT, load
from cycle.data import table
from cycle.data.batch import Hypothesis
from cycle.data.features import FRAMES_PER_TOKEN, SHARD
from cycle.data.schemas import RECORDING
from cycle.data.types import Speech
from cycle.device import fabric as make_fabric
from cycle.exchange import label, round_data, speak
from cycle.experiment import Experiment
from cycle.files import write_json
from cycle.models.ngram import NGram
from cycle.models.synthesizer import Rendering
from cycle.train.streams import Mixture

TOKENS = [f"t{n}" for n in range(50)]
FRAMES, TOKENS_EACH = 6, 3


def text(number: int, tokens: int = TOKENS_EACH) -> str:
    return " ".join(TOKENS[(number * 7 + k * (number % 11 + 1)) % 50] for k in range(tokens))


class Asr:
    def listen(self, speech, search):
        size = len(speech.lengths)
        return lambda: [[Hypothesis(text(i * 31 + n), -1.0 - 0.1 * n - 0.01 * i) for n in range(search.nbest)] for i in range(size)]


class Tts:
    def synthesize(self, texts, spks, variation=None, generator=None):
        size = len(texts)
        lengths = torch.full((size,), FRAMES)
        return Rendering(
            Speech(torch.zeros(size, FRAMES, 80), lengths), torch.full((size, TOKENS_EACH + 1), 2), torch.zeros(size, TOKENS_EACH)
        )

    def score(self, batch):
        return torch.linspace(-1, 0, len(batch.texts))


class Aligner:
    def align(self, speech, texts):
        frames = torch.zeros(len(texts), TOKENS_EACH + 1, dtype=torch.long)
        frames[:, 0] = speech.lengths
        return frames, torch.zeros(len(texts))


def pools(exp: Experiment, size: int, frames: int = FRAMES, tokens: int = TOKENS_EACH) -> None:
    """Stage 2's files; all shards of features are one file under many names."""
    blank = exp.feats("paired") / "blank"
    for pool, count in (("paired", 500), ("speech", size)):
        folder = exp.feats(pool)
        folder.mkdir(parents=True)
        for suffix, shape in (("feats.npy", (SHARD * frames, 80)), ("f0.npy", (SHARD * frames,))):
            if pool == "paired":
                np.save(f"{blank}.{suffix}", np.zeros(shape, np.float16))
            for start in range(0, count, SHARD):
                os.link(f"{blank}.{suffix}", folder / f"{start // SHARD:05d}.{suffix}")
        for start in range(0, count, SHARD):
            rows = ({"utt": f"{pool}-{n:08d}", "spk": "s", "text": text(n, tokens) if pool == "paired" else "", "frames": frames}
                    for n in range(start, min(start + SHARD, count)))  # fmt: skip
            table.write(folder / f"{start // SHARD:05d}.arrow", rows, RECORDING)
    rows = ({"utt": f"text-{n:08d}", "spk": "", "text": text(n, tokens), "frames": FRAMES_PER_TOKEN * tokens} for n in range(size))
    table.write(exp.feats("text") / "00000.arrow", rows, RECORDING)
    for folder, pool, count in ((exp.oracle / "speech", "speech", size), (exp.data("paired"), "paired", 500)):
        folder.mkdir(parents=True)
        with open(folder / "tokens", "w") as handle:
            handle.writelines(f"{pool}-{n:08d} {text(n, tokens)}\n" for n in range(count))
    exp.tokens.mkdir(parents=True)
    exp.voices.mkdir()
    np.save(exp.voices / "speakers.npy", np.array(["s"]))
    (exp.tokens / "tokens.txt").write_text("\n".join(["<blank>", "<unk>", *TOKENS, "<sos/eos>"]) + "\n")
    NGram.fit([text(n, tokens).split() for n in range(500)], 3, TOKENS).save(exp.tokens / "prior.json")
    write_json(exp.tokens / "stats.json", {"f0": [5.0, 1.0], "energy": [0.0, 1.0], "frames_per_token": [1.0, 9.0]})


def main(size: int, folder: Path) -> None:
    os.chdir(ROOT)
    torch.set_num_threads(1)
    exp = Experiment(folder, load("mini", "cycle", ["rounds.label.search.tune=false", "rounds.speak.count=0"], "cpu"), "mini", "cycle")
    if os.fork() == 0:  # making the files is no part of what is measured
        pools(exp, size)
        os._exit(0)
    assert os.wait()[1] == 0
    for module in (round_data, label, speak):
        for name, value in (("open_asr", Asr()), ("open_tts", Tts()), ("open_aligner", Aligner())):
            if hasattr(module, name):
                setattr(module, name, lambda *_, value=value: value)
    fabric, start = make_fabric("cpu", "32"), time.monotonic()
    import cycle.models.espnet_asr  # noqa: F401  # a run has it, and with it ESPnet, in memory

    data = round_data.exchange(exp, 1, folder, folder / "work", fabric)
    for name, mix in (
        ("pseudo", {"paired": 1.0, "pseudo": 1.0}),
        ("synthetic", {"synthetic": 1.0, "paired": 1.0}),
        ("speech", {"speech": 1.0}),
    ):
        mixture = Mixture(data.streams, mix, 400, seed=1)
        batches = mixture.batches(0, torch.device("cpu"))
        for _ in range(200):
            next(batches)
        batches.close()
        del name
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sizes = {name: len(stream) for name, stream in data.streams.items()}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    parts = {f"{part}_mb": round(int(status[key].split()[0]) / 1024) for part, key in (("own", "RssAnon"), ("mapped", "RssFile"))}
    print(json.dumps({"utterances": size, "peak_mb": round(peak), **parts, "seconds": round(time.monotonic() - start), "streams": sizes}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
