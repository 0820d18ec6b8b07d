"""ESPnet's TTS models as a Synthesizer: FastSpeech2 in batches; Tacotron 2 and Transformer-TTS by the same YAML, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cycle.config import read_yaml
from cycle.data.batch import Batch, Loss
from cycle.data.types import Speech
from cycle.errors import UserError
from cycle.models import fastspeech
from cycle.models.checkpoint import load_weights, save, task_args
from cycle.models.espnet import AbsGANTTS, FastSpeech2, TTSTask, tts_choices
from cycle.models.noise import quiet
from cycle.models.synthesizer import Rendering, Variation
from cycle.models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Voices:
    """Speakers and their prosody statistics.

    Attributes:
        speakers: ids, in the order of the model's embedding.
        f0: mean and standard deviation of the log pitch over the paired pool.
        energy: the same of the mean feature of a frame.
    """

    speakers: tuple[str, ...]
    f0: tuple[float, float]
    energy: tuple[float, float]


class EspnetSynthesizer(nn.Module):
    """Text to the shared log-mel.

    Args:
        vocabulary: the tokens.
        voices: speakers and prosody statistics.
        n_mels: size of a feature frame.
        conf: ESPnet's own YAML as a mapping.

    Raises:
        UserError: a GAN model, which returns waveforms and needs a discriminator's step.
    """

    def __init__(self, vocabulary: Vocabulary, voices: Voices, n_mels: int, conf: dict[str, Any]):
        super().__init__()
        name = conf.get("tts", "tacotron2")
        if name in ("vits", "jets", "joint_text2wav"):
            raise UserError(
                f"tts: {name} is a GAN model, which the cycle cannot train yet", "conf/tts", "use fastspeech2, tacotron2 or transformer"
            )
        try:
            known = tts_choices.get_class(name)
        except ValueError as error:
            raise UserError(f"tts: ESPnet knows no {name!r}", "conf/tts") from error
        assert not issubclass(known, AbsGANTTS)
        shared = {"token_list": vocabulary.tokens, "token_type": "word", "odim": n_mels, "feats_extract": None, "normalize": None,
                  "pitch_extract": None, "energy_extract": None, "pitch_normalize": None, "energy_normalize": None, "cleaner": None,
                  "g2p": None}  # fmt: skip
        speakers = {"spks": len(voices.speakers)} if len(voices.speakers) > 1 else {}
        conf = {**conf, **shared, "tts_conf": {**conf.get("tts_conf", {}), **speakers}}
        self.args = task_args(TTSTask, conf, "conf/tts")
        self.vocabulary, self.voices = vocabulary, voices
        self.speaker_index = {spk: i for i, spk in enumerate(voices.speakers)}
        self.model = TTSTask.build_model(self.args)
        self.tts = self.model.tts

    @classmethod
    def load(cls, folder: Path, n_mels: int, voices: Voices) -> EspnetSynthesizer:
        """Opens `folder/{config.yaml,model.pth}`."""
        conf = read_yaml(folder / "config.yaml")
        self = cls(Vocabulary(conf["token_list"]), voices, n_mels, conf)
        load_weights(self.model, folder / "model.pth")
        return self

    def save(self, folder: Path) -> None:
        save(folder, self.model, self.args)

    @property
    def needs_durations(self) -> bool:
        return isinstance(self.tts, FastSpeech2)

    def _speakers(self, spks: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """ESPnet's speaker argument; speakers the model has never heard of are an error of the caller."""
        if getattr(self.tts, "spks", None) is None:
            return {}
        return {"sids": torch.tensor([[self.speaker_index[s]] for s in spks], device=device)}

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.speech is not None
        device = batch.speech.feats.device
        ids, lengths = self.vocabulary.encode(batch.texts, device)
        inputs = {"text": ids, "text_lengths": lengths, "feats": batch.speech.feats, "feats_lengths": batch.speech.lengths}
        if self.needs_durations:
            assert batch.durations is not None and batch.f0 is not None
            prosody = fastspeech.prosody(batch.speech, batch.f0, batch.durations, self.voices.f0, self.voices.energy)
            inputs |= {"durations": batch.durations, "durations_lengths": lengths + 1, "pitch": prosody[0], "pitch_lengths": lengths + 1,
                       "energy": prosody[1], "energy_lengths": lengths + 1}  # fmt: skip
        inputs |= self._speakers(batch.spks, device)
        if self.needs_durations:
            return inputs
        order = lengths.argsort(descending=True)  # autoregressive encoders pack their sequences
        return {name: value[order] for name, value in inputs.items()}

    def loss(self, batch: Batch) -> Loss:
        """ESPnet's own loss of the model."""
        value, stats, _ = self.tts(**self._inputs(batch))
        return Loss(value, len(batch.texts), {k: v for k, v in stats.items() if v is not None and "alpha" not in k})

    def synthesize(
        self,
        texts: Sequence[str],
        spks: Sequence[str],
        grad: bool = False,
        variation: Variation | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """Speaks texts; FastSpeech2 in one batch, others one by one (they take no variation)."""
        device = next(self.parameters()).device
        with quiet(self), torch.set_grad_enabled(grad):
            if isinstance(self.tts, FastSpeech2):
                ids, lengths = self.vocabulary.encode(texts, device)
                return fastspeech.synthesize(self.tts, ids, lengths, self._speakers(spks, device), variation or Variation(), generator)
            rows = []
            for text, spk in zip(texts, spks, strict=True):
                ids, _ = self.vocabulary.encode([text], device)
                spk_args = {k: v[0] for k, v in self._speakers([spk], device).items()}
                rows.append(self.tts.inference(ids[0], **spk_args)["feat_gen"])
            lengths = torch.tensor([len(r) for r in rows], device=device)
            return Rendering(Speech(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths))

    @torch.no_grad()
    def score(self, batch: Batch) -> Tensor:
        """(B,) minus the distance of each recording to the model's rendering of its text, under the text's alignment.

        FastSpeech2: see `fastspeech.distance`. Autoregressive models: minus the mean absolute error under teacher forcing.
        """
        with quiet(self):
            if isinstance(self.tts, FastSpeech2):
                return -fastspeech.distance(self.tts, self._inputs(batch))
            assert batch.speech is not None
            device = batch.speech.feats.device
            scores = []
            for i, (text, length) in enumerate(zip(batch.texts, batch.speech.lengths.tolist(), strict=True)):
                feats = batch.speech.feats[i, :length]
                ids, _ = self.vocabulary.encode([text], device)
                spk_args = {k: v[0] for k, v in self._speakers([batch.spks[i]], device).items()}
                out = self.tts.inference(ids[0], feats=feats, use_teacher_forcing=True, **spk_args)["feat_gen"]
                scores.append(-(out - feats[: len(out)]).abs().mean())
            return torch.stack(scores)
