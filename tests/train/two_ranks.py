"""Trains both models for some updates: `two_ranks.py FOLDER`, alone or under torchrun. A test compares what is left in FOLDER."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from cycle.data.batch import Batch, Loss
from cycle.data.features import FeatureStore, ShardWriter
from cycle.device import by_first
from cycle.device import fabric as make_fabric
from cycle.fabric import Fabric
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.espnet_tts import EspnetSynthesizer
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.objectives.base import Models, nothing
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.settings import Optimizer, Run
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream
from cycle.voices import find_voices
from cycle.yaml_file import read_yaml
from tests.test_find_voices import ONE_VOICE, corpus, experiment

TOKENS = ["<blank>", "<unk>", *"abcdefgh", "<sos/eos>"]


def quiet_conf(path: str) -> dict:
    """A model's YAML without dropout and SpecAugment, whose noise differs from rank to rank."""
    conf = {k: v for k, v in read_yaml(Path(path)).items() if not k.startswith("specaug")}
    for part in conf.values():
        if isinstance(part, dict):
            part.update({k: 0.0 for k in part if "dropout" in k})
    return conf


def data(folder: Path) -> Stream:
    """Thirty utterances of random features with durations."""
    rng, writer = np.random.default_rng(0), ShardWriter(folder, 0)
    texts, durations = [], []
    for i in range(30):
        texts.append(" ".join(rng.choice(list("abcdefgh"), size=rng.integers(2, 5))))
        tokens = texts[-1].count(" ") + 2
        durations.append(rng.integers(8, 14, size=tokens))
        frames = int(durations[-1].sum())
        writer.add(
            f"u{i}",
            rng.normal(size=(frames, 80)).astype(np.float32),
            rng.normal(5, 0.1, frames).astype(np.float32),
            spk="s",
            text=texts[-1],
        )
    writer.close()
    store = FeatureStore(folder)
    return Stream("paired", [f"u{i}" for i in range(30)], ["s"] * 30, texts, store=store, rows=np.arange(30), durations=durations)


class Few:
    """Learns from some of the utterances: of a batch, one rank may have all and the other none."""

    trains = frozenset({"asr"})

    def __call__(self, batch: Batch, models: Models, step: int) -> Loss:
        assert batch.speech is not None
        some = [i for i, utt in enumerate(batch.utt_ids) if int(utt[1:]) % 3 == 0]
        if not some:
            return nothing(torch.device("cpu"), {"loss": 0.0})
        part = Batch(*([of[i] for i in some] for of in (batch.utt_ids, batch.spks, batch.texts)), batch.speech.rows(some))
        return models.asr.loss(part)


def find_all_voices(folder: Path, fabric: Fabric) -> None:
    """In a corpus of four voices, and in one with a single voice, where the first rank is done before the others come."""
    by_first(fabric, lambda: (corpus(folder / "several"), corpus(folder / "one", ONE_VOICE)))
    find_voices(experiment(folder / "several"), fabric)
    time.sleep(fabric.global_rank)
    find_voices(experiment(folder / "one"), fabric)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    fabric = make_fabric("cpu", "32")
    find_all_voices(folder, fabric)
    torch.manual_seed(0)
    vocabulary = Vocabulary(TOKENS)
    asr = EspnetRecognizer(vocabulary, 80, quiet_conf("conf/asr/conformer_tiny.yaml"))
    conf = quiet_conf("conf/tts/fastspeech2_tiny.yaml")
    conf["tts_conf"]["duration_predictor_dropout_rate"] = 0.0  # it stands in no YAML
    tts = EspnetSynthesizer(vocabulary, Voices(("s",), (5.0, 0.1), (0.0, 1.0)), 80, conf)
    for module in (*asr.modules(), *tts.modules()):
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
            module.train = lambda mode=True: None  # frozen: ranks see other batches
    stream = data(folder / f"feats{fabric.global_rank}")
    tasks = [Task("asr", AsrSupervised(), Mixture({"a": stream}, {"a": 1.0}, 400, 1)),
             Task("tts", TtsSupervised(), Mixture({"a": stream}, {"a": 1.0}, 300, 2), every=2),
             Task("few", Few(), Mixture({"a": stream}, {"a": 1.0}, 200, 3), every=3)]  # fmt: skip
    parts = {"asr": (asr, Optimizer(lr=1e-3)), "tts": (tts, Optimizer(lr=1e-3))}
    Trainer(folder / "state", folder, "p", Models(asr, tts), parts, tasks, 20, 1, Run(1e9, 2, 0), fabric).fit()
    if fabric.is_global_zero:
        torch.save({"asr": asr.state_dict(), "tts": tts.state_dict()}, folder / "weights.pt")
        (folder / "ranks.json").write_text(json.dumps(fabric.world_size))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
