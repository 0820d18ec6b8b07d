"""ESPnet's TTS models as a Synthesizer: FastSpeech2; Tacotron 2 and Transformer-TTS by the same YAML, frame by frame."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.batch import TOKENS, Batch, Loss, round_up, within
from cycle.data.types import Speech
from cycle.device import send
from cycle.errors import UserError
from cycle.log import log
from cycle.models import fastspeech, free_running, sampling, tacotron
from cycle.models.checkpoint import Unfilled, load_weights, save, task_args
from cycle.models.espnet import AbsGANTTS, FastSpeech2, Tacotron2, TTSTask, tts_choices
from cycle.models.graphs import Graphs, Recorded
from cycle.models.noise import quiet
from cycle.models.synthesizer import Action, Rendering, Spread, Variation, gaussian_logp
from cycle.models.vocabulary import Vocabulary
from cycle.models.voices import Voices
from cycle.yaml_file import read_yaml


class EspnetSynthesizer(nn.Module):
    """Text to the shared log-mel.

    Args:
        vocabulary: the tokens.
        voices: speakers, their embeddings, prosody statistics.
        n_mels: size of a feature frame.
        conf: ESPnet's own YAML as a mapping.

    Raises:
        UserError: a GAN model, which returns waveforms and needs a discriminator's step.
    """

    def __init__(self, vocabulary: Vocabulary, voices: Voices, n_mels: int, conf: dict[str, Any]):
        super().__init__()
        name = conf.get("tts", "tacotron2")
        try:
            known = tts_choices.get_class(name)
        except ValueError as error:
            raise UserError(f"tts: ESPnet knows no {name!r}", "conf/tts") from error
        if issubclass(known, AbsGANTTS):
            what = f"tts: {name} is a GAN model, which the cycle cannot train yet"
            raise UserError(what, "conf/tts", "use fastspeech2, tacotron2 or transformer")
        shared = {"token_list": vocabulary.tokens, "token_type": "word", "odim": n_mels, "feats_extract": None, "normalize": None,
                  "pitch_extract": None, "energy_extract": None, "pitch_normalize": None, "energy_normalize": None, "cleaner": None,
                  "g2p": None}  # fmt: skip
        conf = {**conf, **shared, "tts_conf": {**conf.get("tts_conf", {}), "spks": None, "spk_embed_dim": voices.size}}
        self.args = task_args(TTSTask, conf, "conf/tts")
        self.vocabulary, self.voices = vocabulary, voices
        self.model = TTSTask.build_model(self.args)
        self.tts = self.model.tts
        self.graphs: dict[str, Graphs] = {}

    @classmethod
    def load(cls, folder: Path, n_mels: int, voices: Voices) -> EspnetSynthesizer:
        """Opens `folder/{config.yaml,model.pth}`."""
        conf = read_yaml(folder / "config.yaml")
        with Unfilled():
            self = cls(Vocabulary(conf["token_list"]), voices, n_mels, conf)
        load_weights(self.model, folder / "model.pth")
        return self

    def save(self, folder: Path) -> None:
        save(folder, self.model, self.args)

    @property
    def needs_durations(self) -> bool:
        return isinstance(self.tts, FastSpeech2)

    def use_graphs(self, on: bool = True) -> None:
        """From now on, `loss` and `synthesize` with gradient pad to few shapes, and replay them if `on`; batches should have few, too."""
        if self.needs_durations and fastspeech.is_recordable(self.tts):
            recorded: dict[str, Recorded] = {"losses": fastspeech.losses, "plan": fastspeech.plan, "sound": fastspeech.sound}
            self.graphs = {name: Graphs(function, self.tts, on) for name, function in recorded.items()}
        elif on:
            log.info("graphs: not every step of this synthesiser is the same (no plain FastSpeech2, or layers are dropped)")

    def _speakers(self, spks: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """ESPnet's speaker argument; speakers the experiment has never heard are an error of the caller."""
        return {} if self.voices.vectors is None else {"spembs": self.voices.embeddings(spks, device)}

    def _speaker(self, spk: str) -> dict[str, Tensor]:
        """The same for ESPnet's single-sentence inference."""
        return {name: value[0] for name, value in self._speakers([spk], self._device).items()}

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def _recordings(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.speech is not None
        ids, lengths = self.vocabulary.encode(batch.texts, batch.speech.feats.device)
        return {"text": ids, "text_lengths": lengths, "feats": batch.speech.feats, "feats_lengths": batch.speech.lengths}

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The arguments of ESPnet's forward in a training step; sorted by length for an autoregressive model."""
        inputs = self._recordings(batch)
        device, lengths = inputs["text"].device, inputs["text_lengths"]
        if self.needs_durations:
            assert batch.speech is not None and batch.durations is not None and batch.f0 is not None
            inputs["text"] = nn.functional.pad(inputs["text"], (0, batch.durations.size(1) - 1 - inputs["text"].size(1)))
            prosody = fastspeech.prosody(batch.speech, batch.f0, batch.durations, self.voices.f0, self.voices.energy)
            inputs |= {"durations": batch.durations, "durations_lengths": lengths + 1, "pitch": prosody[0], "pitch_lengths": lengths + 1,
                       "energy": prosody[1], "energy_lengths": lengths + 1}  # fmt: skip
        inputs |= self._speakers(batch.spks, device)
        if self.needs_durations:
            return inputs
        order = lengths.argsort(descending=True)  # autoregressive encoders pack their sequences
        return {name: value[order] for name, value in inputs.items()}

    def loss(self, batch: Batch, own_inputs: float = 0.0) -> Loss:
        """ESPnet's own loss of the model.

        Args:
            own_inputs: share of the steps at which an autoregressive decoder reads its own last frame.

        Raises:
            UserError: own inputs for a model that is not Tacotron 2.
        """
        if own_inputs and not isinstance(self.tts, Tacotron2):
            raise UserError("scheduled sampling needs an autoregressive synthesiser", "tts.config", "use conf/tts/tacotron2.yaml")
        if self.needs_durations and fastspeech.is_plain(self.tts):
            value, parts = fastspeech.loss(self.tts, self.inputs(batch), self.graphs.get("losses"))
            stats = {"loss": value.detach(), **dict(zip(fastspeech.PARTS, parts.detach().unbind(), strict=True))}
            return Loss(value, len(batch.texts), stats, parts, self._counts(batch))
        with tacotron.own_inputs(self.tts, own_inputs) if own_inputs else contextlib.nullcontext():
            value, stats, _ = self.tts(**self.inputs(batch))
        return Loss(value, len(batch.texts), {k: v for k, v in stats.items() if v is not None and "alpha" not in k})

    @staticmethod
    def _counts(batch: Batch) -> list[int]:
        """What each part of FastSpeech2's loss averages: frames, and tokens with the end of the text."""
        assert batch.speech is not None
        frames = batch.speech.lengths if batch.speech.known is None else batch.speech.known
        return [int(frames.sum()), *[sum(len(text.split()) + 1 for text in batch.texts)] * 3]

    def synthesize(
        self,
        texts: Sequence[str],
        spks: Sequence[str],
        grad: bool = False,
        variation: Variation | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """Speaks texts in one batch; autoregressive models take no variation."""
        device = self._device
        with quiet(self), torch.set_grad_enabled(grad):
            if isinstance(self.tts, FastSpeech2):
                ids, lengths = self.vocabulary.encode(texts, device)
                graphs, varied = self.graphs if grad else {}, variation or Variation()
                if graphs:
                    ids = nn.functional.pad(ids, (0, round_up(ids.size(1), TOKENS) - ids.size(1)))
                return fastspeech.synthesize(self.tts, ids, lengths, self._speakers(spks, device), varied, generator, graphs)
            tokens = [self.vocabulary.encode([text], device)[0][0] for text in texts]
            rows = free_running.speak(self.tts, tokens, [self._speaker(spk) for spk in spks])
            lengths = send([len(r) for r in rows], device)
            return Rendering(Speech(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths))

    @torch.no_grad()
    def spoken(self, text: str, spk: str) -> tuple[Tensor, Tensor]:
        """One sentence with its rhythm, for figures.

        Returns:
            (T, M) features; (L + 1,) frames of each token and of the sentence end: FastSpeech2's own, else those at which the attention
            looks at it most (of a transformer, the head that looks most sharply; Ren et al. 2019, arXiv:1905.09263).
        """
        if self.needs_durations:
            made = self.synthesize([text], [spk])
            assert made.durations is not None
            return made.speech.feats[0], made.durations[0]
        ids, _ = self.vocabulary.encode([text], self._device)
        with quiet(self):
            out = self.tts.inference(ids[0], **self._speaker(spk))
        seen = out["att_w"].reshape(-1, *out["att_w"].shape[-2:])
        sharpest = seen[seen.max(-1).values.mean(-1).argmax()]
        frames = torch.bincount(sharpest.argmax(-1), minlength=sharpest.size(-1))
        return out["feat_gen"], frames * max(1, getattr(self.tts, "reduction_factor", 1))

    def score(self, batch: Batch, soft: Tensor | None = None, grad: bool = False) -> Tensor:
        """(B,) minus the distance of each recording to the model's rendering of its text, under the text's alignment.

        FastSpeech2: see `fastspeech.distance`. Autoregressive models: minus the mean absolute error under teacher forcing.

        Args:
            soft: (B, L, V) one-hot tokens of the texts, with gradient.
        """
        with tacotron.still(self), torch.set_grad_enabled(grad):
            tokens = self._soft(batch.texts, soft) if soft is not None else None
            if isinstance(self.tts, FastSpeech2):
                with sampling.embedded(self.tts.encoder.embed[0], tokens) if tokens is not None else contextlib.nullcontext():
                    return -fastspeech.distance(self.tts, self.inputs(batch))
            if isinstance(self.tts, Tacotron2):
                return -tacotron.distance(self.tts, self._recordings(batch), self._speakers(batch.spks, self._device), tokens)
            if soft is not None:
                raise UserError("soft tokens need fastspeech2 or tacotron2", "tts.config")
            return self._score_one_by_one(batch)

    def _score_one_by_one(self, batch: Batch) -> Tensor:
        assert batch.speech is not None
        scores = []
        for i, (text, length) in enumerate(zip(batch.texts, batch.speech.lengths.tolist(), strict=True)):
            feats = batch.speech.feats[i, :length]
            ids, _ = self.vocabulary.encode([text], self._device)
            out = self.tts.inference(ids[0], feats=feats, use_teacher_forcing=True, **self._speaker(batch.spks[i]))["feat_gen"]
            scores.append(-(out - feats[: len(out)]).abs().mean())
        return torch.stack(scores)

    def _soft(self, texts: Sequence[str], soft: Tensor) -> Tensor:
        """(B, L + 1, V) one-hots of texts and their end, with (B, L, V) soft tokens in the places of the texts' own."""
        ids, lengths = self.vocabulary.encode(texts, soft.device)
        xs, _ = fastspeech.with_end(self.tts, ids, lengths)
        hard = nn.functional.one_hot(xs, len(self.vocabulary)).to(soft.dtype)
        spoken = within(lengths, xs.size(1))
        return torch.where(spoken[..., None], nn.functional.pad(soft, (0, 0, 0, xs.size(1) - soft.size(1))), hard)

    def _policy(self) -> Any:
        if not isinstance(self.tts, (FastSpeech2, Tacotron2)):
            raise UserError("this synthesiser has no likelihood of its renderings", "tts.config", "use fastspeech2 or tacotron2")
        return self.tts

    @torch.no_grad()
    def sample(self, texts: Sequence[str], spks: Sequence[str], spread: Spread) -> tuple[Action, Speech]:
        """Renderings drawn from the Gaussian policy: FastSpeech2's over ln(frames + 1), pitch and energy of each token, given their
        predictions; Tacotron 2's over each frame, given its own frames before."""
        tts, device = self._policy(), self._device
        with tacotron.still(self):
            if isinstance(tts, FastSpeech2):
                return fastspeech.draw(tts, *self.vocabulary.encode(texts, device), self._speakers(spks, device), spread)
            ids = [self.vocabulary.encode([text], device)[0][0] for text in texts]
            return tacotron.draw(tts, ids, [self._speaker(spk) for spk in spks], spread.frame)

    def action(self, batch: Batch) -> Action:
        """The prosody of recordings (FastSpeech2), or their frames (Tacotron 2)."""
        assert batch.speech is not None
        if isinstance(self._policy(), FastSpeech2):
            return fastspeech.recorded(self.inputs(batch))
        return Action(batch.speech.feats, batch.speech.lengths)

    def logp(self, texts: Sequence[str], spks: Sequence[str], action: Action, spread: Spread) -> Tensor:
        """(B,) log-density of actions under the policy that `sample` draws from: a Gaussian of stated deviation around each prediction."""
        tts, device = self._policy(), self._device
        ids, lengths = self.vocabulary.encode(texts, device)
        speakers = self._speakers(spks, device)
        with tacotron.still(self):
            if isinstance(tts, FastSpeech2):
                means, _, _ = fastspeech.policy(tts, ids, lengths, speakers)
                return gaussian_logp(action.values, means, fastspeech.stds(spread), action.lengths)
            _, means = tacotron.teacher_forced(tts, ids, lengths, action.values, action.lengths, speakers)
            whole = action.lengths - action.lengths % tts.reduction_factor
            return gaussian_logp(action.values[:, : means.size(1)], means, [spread.frame], whole)
