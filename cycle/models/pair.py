"""Opening and building the models of an experiment."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from cycle.data.batch import Batch
from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import identity, read_json
from cycle.log import log
from cycle.models.checkpoint import idle, load_weights, model_conf
from cycle.models.frame_ctc import FrameCTC
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.settings import Config, FrameModel, Model
from cycle.yaml_file import read_yaml

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


@dataclass(frozen=True)
class _Source:
    """What a model is built from: a YAML, the file that it is in, and the checkpoint to start from, if there is one."""

    conf: dict[str, Any]
    where: Path | str
    init: Path | None = None

    def tokens(self) -> list[str]:
        return list(self.conf.get("token_list") or [])

    def build[T: (EspnetRecognizer, EspnetSynthesizer)](self, make: Callable[[dict[str, Any]], T]) -> T:
        """Lets ESPnet build it, and fills it.

        Raises:
            UserError: ESPnet cannot, or the checkpoint is another model's.
        """
        try:
            model = make(self.conf)
        except UserError as error:
            raise UserError(error.what, self.where, error.remedy) from error
        except Exception as error:  # of any kind, whatever a class of ESPnet makes of an argument that it does not know or cannot use
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"ESPnet cannot build this model ({said})", self.where, "its keys are those of ESPnet's training YAML"
            ) from error
        if self.init:
            load_weights(model.model, self.init)
        return model


def _source(conf: Model) -> _Source:
    """With `init`, the checkpoint's own YAML counts.

    Raises:
        UserError: there is no such file.
    """
    if conf.init is None:
        return _Source(model_conf(conf), f"{conf.config} with the conf laid over it" if conf.conf else conf.config)
    path = Path(conf.init).resolve()
    config = path.parent / "config.yaml"
    if not path.is_file() or not config.is_file():
        raise UserError("no checkpoint with a config.yaml beside it", path, "name ESPnet's model.pth")
    return _Source(read_yaml(config), config, path)


def _same_tokens(source: _Source, vocabulary: Vocabulary) -> None:
    if source.init and source.tokens() != vocabulary.tokens:
        raise UserError("its token list is not that of the corpus", source.where, "give the corpus the same tokens (tokens/tokens.txt)")


def build_asr(config: Config, vocabulary: Vocabulary) -> EspnetRecognizer:
    """A fresh recogniser, or the one of `asr.init`.

    Raises:
        UserError: one that cannot be built, whose tokens are others, or that cannot decode as the configuration says.
    """
    from cycle.models.espnet_asr import EspnetRecognizer

    source = _source(config.asr)
    _same_tokens(source, vocabulary)
    model = source.build(lambda conf: EspnetRecognizer(vocabulary, config.features.n_mels, conf, config.augment))
    model.fits(config.decode)  # now, not after hours of training
    return model


def build_tts(config: Config, vocabulary: Vocabulary, voices: Voices) -> EspnetSynthesizer:
    """A fresh synthesiser, or the one of `tts.init`. Raises as `build_asr` does."""
    from cycle.models.espnet_tts import EspnetSynthesizer

    source = _source(config.tts)
    _same_tokens(source, vocabulary)
    return source.build(lambda conf: EspnetSynthesizer(vocabulary, voices, config.features.n_mels, conf))


def _learn(model: Any, n_mels: int, where: Path | str) -> None:
    """Lets a model learn from two utterances of different lengths.

    Raises:
        UserError: it cannot.
    """
    texts, durations = ["a", "a b"], torch.tensor([[60, 30, 0], [60, 40, 20]])
    speech = Speech(torch.linspace(-2, 2, 2 * 120 * n_mels).view(2, 120, n_mels), torch.tensor([90, 120]))
    batch = Batch(["u", "v"], ["nobody"] * 2, texts, speech, torch.linspace(4, 6, 2 * 120).view(2, 120), durations)
    try:
        model.train().loss(batch).value.backward()
    except UserError:
        raise
    except Exception as error:  # of any kind: it is a model that nobody has tried here
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"this model cannot be trained here ({said})", where, "take another encoder, decoder or synthesiser") from error


def _tell_idle(name: str, source: _Source) -> None:
    """Training is set elsewhere; what a fresh model is filled with, too."""
    from cycle.models.espnet import ASRTask, TTSTask

    keys = [] if source.init else idle(ASRTask if name == "asr" else TTSTask, source.conf)
    if keys:
        remedy = f"training is set by pretrain, rounds and augment, a checkpoint to start from by {name}.init, features by features"
        log.warning("%s: %s: of ESPnet's own training, without effect here; %s", source.where, ", ".join(keys), remedy)


def try_models(config: Config) -> None:
    """Builds the models once, with tokens and a voice that stand in for the corpus's before there are any, and lets them learn a little.

    Raises:
        UserError: as `build_asr` does, but for the tokens; a model that cannot be trained.
    """
    for name in config.models:
        source = _source(config.asr if name == "asr" else config.tts)
        vocabulary = Vocabulary(source.tokens()) if source.init else Vocabulary.of(["a b"])
        _tell_idle(name, source)
        if name == "asr":
            _learn(build_asr(config, vocabulary), config.features.n_mels, source.where)
        else:
            size = (source.conf.get("tts_conf") or {}).get("spk_embed_dim") if source.init else None
            vectors = np.zeros((1, size), np.float32) if size else None
            voice = Voices(np.array(["nobody"]), (0.0, 1.0), (0.0, 1.0), vectors)
            _learn(build_tts(config, vocabulary, voice), config.features.n_mels, source.where)


def settle() -> None:
    """Imports what models are made of, and lets the garbage collector know that it stays.

    Half a million objects, which it would walk through every few seconds, for as long as a GPU takes to transcribe a thousand utterances.
    """
    import cycle.models.espnet_asr
    import cycle.models.espnet_tts  # noqa: F401

    gc.collect()
    gc.freeze()


def load_asr(folder: Path, config: Config, device: torch.device) -> EspnetRecognizer:
    from cycle.models.espnet_asr import EspnetRecognizer

    return EspnetRecognizer.load(folder / "asr", config.features.n_mels, config.augment).to(device).eval()


def load_tts(folder: Path, config: Config, voices: Voices, device: torch.device) -> EspnetSynthesizer:
    from cycle.models.espnet_tts import EspnetSynthesizer

    return EspnetSynthesizer.load(folder / "tts", config.features.n_mels, voices).to(device).eval()


def load_aligner(exp: Experiment, device: torch.device) -> FrameCTC:
    return load_frame_model(exp.aligner, exp.config.aligner, exp.config, Vocabulary.read(exp.vocabulary), device)


_opened: dict[str, tuple[object, Any]] = {}  # the model of each kind that was opened last, and what it was made from


def _key(kind: str, exp: Experiment, file: Path, device: torch.device) -> object:
    """What a model is made from: its file, under whatever name, since a finished round is renamed; and the settings that count."""
    conf = exp.config
    own = {"asr": conf.augment, "tts": exp.voices, "aligner": (conf.aligner, exp.vocabulary)}[kind]
    return identity(file), str(device), conf.features.n_mels, own


def _open[M: nn.Module](kind: str, exp: Experiment, file: Path, device: torch.device, load: Callable[[], M]) -> M:
    """Loads a model, or hands out the one that it has loaded from the same file, or that was lent."""
    if not file.is_file():
        return load()  # which says so
    key = _key(kind, exp, file, device)
    if kind not in _opened or _opened[kind][0] != key:
        _opened.pop(kind, None)  # its memory may be wanted
        _opened[kind] = key, load()
    model: M = _opened[kind][1]
    return model


def lend(exp: Experiment, folder: Path, device: torch.device, models: Mapping[str, nn.Module]) -> None:
    """Whoever opens the models of a folder from now on gets these, which have its weights, in eval mode; until somebody opens others."""
    for kind, model in models.items():
        _opened[kind] = _key(kind, exp, folder / kind / "model.pth", device), model.eval()


def close_models() -> None:
    """Whoever opens a model from now on gets one of their own. Those that were shared are gone as soon as nobody else has them."""
    _opened.clear()


def open_asr(exp: Experiment, folder: Path, device: torch.device) -> EspnetRecognizer:
    """A recogniser as `load_asr` gives, shared by all who only listen, of whom an exchange has several."""
    return _open("asr", exp, folder / "asr/model.pth", device, lambda: load_asr(folder, exp.config, device))


def open_tts(exp: Experiment, folder: Path, device: torch.device) -> EspnetSynthesizer:
    """A synthesiser as `load_tts` gives, shared by all who only let it speak."""
    return _open("tts", exp, folder / "tts/model.pth", device, lambda: load_tts(folder, exp.config, read_voices(exp), device))


def open_aligner(exp: Experiment, device: torch.device) -> FrameCTC:
    """An aligner as `load_aligner` gives, shared."""
    return _open("aligner", exp, exp.aligner / "model.pth", device, lambda: load_aligner(exp, device))


def load_frame_model(folder: Path, conf: FrameModel, config: Config, vocabulary: Vocabulary, device: torch.device) -> FrameCTC:
    """The aligner or the judge."""
    model = FrameCTC(vocabulary, config.features.n_mels, conf)
    load_weights(model, folder / "model.pth")
    return model.to(device).eval()
