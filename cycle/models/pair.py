"""Opening and building the models of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cycle.config import read_yaml
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json
from cycle.models.checkpoint import load_weights, model_conf
from cycle.models.frame_ctc import FrameCTC
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.settings import Config, FrameModel, Model

if TYPE_CHECKING:
    from cycle.models.espnet_asr import EspnetRecognizer
    from cycle.models.espnet_tts import EspnetSynthesizer


def read_voices(exp: Experiment) -> Voices:
    """Prosody statistics that stage 2 left, speakers and their embeddings that stage 3 left; files stay where they are until looked at.

    Raises:
        UserError: there are no speakers.
    """
    stats, speakers, vectors = read_json(exp.tokens / "stats.json"), exp.voices / "speakers.npy", exp.voices / "vectors.npy"
    if not speakers.exists():
        raise UserError("the speakers are missing: an earlier version made this experiment", speakers, "make it anew, or use that version")
    return Voices(np.load(speakers, "r"), tuple(stats["f0"]), tuple(stats["energy"]), np.load(vectors, "r") if vectors.exists() else None)


def _init(conf: Model, vocabulary: Vocabulary) -> tuple[dict, Path | None]:  # type: ignore[type-arg]
    """The YAML and checkpoint to start from; with `init`, the checkpoint's own YAML counts.

    Raises:
        UserError: the checkpoint's tokens are not the experiment's.
    """
    if conf.init is None:
        return model_conf(conf), None
    path = Path(conf.init).resolve()
    config = path.parent / "config.yaml"
    if not path.is_file() or not config.is_file():
        raise UserError("no checkpoint with a config.yaml beside it", path, "name ESPnet's model.pth")
    values = read_yaml(config)
    if list(values.get("token_list", [])) != vocabulary.tokens:
        raise UserError("its token list is not that of the corpus", config, "give the corpus the same tokens (tokens/tokens.txt)")
    return values, path


def build_asr(config: Config, vocabulary: Vocabulary) -> EspnetRecognizer:
    """A fresh recogniser, or the one of `asr.init`."""
    from cycle.models.espnet_asr import EspnetRecognizer

    conf, init = _init(config.asr, vocabulary)
    model = EspnetRecognizer(vocabulary, config.features.n_mels, conf, config.augment)
    if init:
        load_weights(model.model, init)
    model.fits(config.decode)  # now, not after hours of training
    return model


def build_tts(config: Config, vocabulary: Vocabulary, voices: Voices) -> EspnetSynthesizer:
    """A fresh synthesiser, or the one of `tts.init`."""
    from cycle.models.espnet_tts import EspnetSynthesizer

    conf, init = _init(config.tts, vocabulary)
    model = EspnetSynthesizer(vocabulary, voices, config.features.n_mels, conf)
    if init:
        load_weights(model.model, init)
    return model


def load_asr(folder: Path, config: Config, device: torch.device) -> EspnetRecognizer:
    from cycle.models.espnet_asr import EspnetRecognizer

    return EspnetRecognizer.load(folder / "asr", config.features.n_mels, config.augment).to(device).eval()


def load_tts(folder: Path, config: Config, voices: Voices, device: torch.device) -> EspnetSynthesizer:
    from cycle.models.espnet_tts import EspnetSynthesizer

    return EspnetSynthesizer.load(folder / "tts", config.features.n_mels, voices).to(device).eval()


def load_frame_model(folder: Path, conf: FrameModel, config: Config, vocabulary: Vocabulary, device: torch.device) -> FrameCTC:
    """The aligner or the judge."""
    model = FrameCTC(vocabulary, config.features.n_mels, conf)
    load_weights(model, folder / "model.pth")
    return model.to(device).eval()
