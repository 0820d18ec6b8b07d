"""ESPnet's ASR models as a Recognizer: any encoder of ESPnet's YAML with a CTC branch, an attention decoder, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.batch import TOKENS, Batch, Hypothesis, Loss, round_up
from cycle.data.types import Speech
from cycle.device import Later
from cycle.errors import UserError
from cycle.log import log
from cycle.models import attention, ctc_search, encoder, hybrid, sampling
from cycle.models.align import viterbi
from cycle.models.attention import IGNORE
from cycle.models.augment import vary
from cycle.models.checkpoint import Unfilled, load_weights, save, task_args
from cycle.models.espnet import ASRTask
from cycle.models.graphs import Graphs, Recorded
from cycle.models.noise import quiet
from cycle.models.recognizer import Branch
from cycle.models.vocabulary import Vocabulary
from cycle.settings import Augment, Search
from cycle.yaml_file import read_yaml

SHORTEST = 8  # frames; ESPnet's subsampling refuses less, and a young synthesiser may well say so little: zeros follow


class EspnetRecognizer(nn.Module):
    """A conformer (or other) CTC/attention model on the shared log-mel.

    Args:
        vocabulary: the tokens.
        n_mels: size of a feature frame.
        conf: ESPnet's own YAML as a mapping.
        augment: how training speech is varied; no part of a checkpoint.
    """

    def __init__(self, vocabulary: Vocabulary, n_mels: int, conf: dict[str, Any], augment: Augment | None = None):
        super().__init__()
        self.augment = augment or Augment()
        shared = {"token_list": vocabulary.tokens, "token_type": "word", "input_size": n_mels, "frontend": None, "normalize": None,
                  "cleaner": None, "g2p": None, "bpemodel": None}  # fmt: skip
        self.args = task_args(ASRTask, {**conf, **shared}, "conf/asr")
        self.vocabulary = vocabulary
        self.model = ASRTask.build_model(self.args)
        self._joint: tuple[tuple[int, float], Any] | None = None
        self.graphs: dict[str, Graphs] = {}

    @classmethod
    def load(cls, folder: Path, n_mels: int, augment: Augment | None = None) -> EspnetRecognizer:
        """Opens `folder/{config.yaml,model.pth}`."""
        conf = read_yaml(folder / "config.yaml")
        with Unfilled():
            self = cls(Vocabulary(conf["token_list"]), n_mels, conf, augment)
        load_weights(self.model, folder / "model.pth")
        return self

    def save(self, folder: Path) -> None:
        save(folder, self.model, self.args)

    def _varied(self, speech: Speech) -> Speech:
        """What goes into ESPnet's encoder, before SpecAugment."""
        return vary(speech, self.augment) if self.training else speech

    def use_graphs(self, on: bool = True) -> None:
        """From now on, `loss` in training and `logp` by CTC pad to few shapes, and replay them if `on`; batches should have few, too."""
        if hybrid.is_recordable(self.model):
            recorded: dict[str, Recorded] = {"losses": hybrid.on_device, "logp": hybrid.text_logp}
            self.graphs = {name: Graphs(function, self.model, on) for name, function in recorded.items()}
        elif on:
            log.info("graphs: not every step of this recogniser is the same (no plain CTC/attention model, or layers are dropped)")

    @torch.no_grad()
    def as_in_training(self, speech: Speech) -> Speech:
        """The speech as the supervised loss hears it: varied (`augment:`) and masked (SpecAugment), each utterance in its own way."""
        speech = vary(speech, self.augment)
        return speech if self.model.specaug is None else encoder.spec_augment(speech, self.model.specaug)

    def _heard(self, speech: Speech) -> Speech:
        """What the encoder is given: in training with parts hidden, never shorter than it can take."""
        lacking = max(0, SHORTEST - speech.feats.size(1))
        known = None if speech.known is None else speech.known.clamp(min=SHORTEST)
        longer = Speech(nn.functional.pad(speech.feats, (0, 0, 0, lacking)), speech.lengths.clamp(min=SHORTEST), known)
        return encoder.augmented(self.model, longer)

    @torch.no_grad()
    def outputs(self, frames: int) -> int:
        """How many outputs the encoder has for a recording of so many frames."""
        with quiet(self):
            feats = torch.zeros(1, frames, self.args.input_size, device=next(self.parameters()).device)
            return int(self._encode(Speech(feats, torch.tensor([frames]).to(feats.device), torch.tensor([frames])))[1])

    def _encode(self, speech: Speech) -> tuple[Tensor, Tensor]:
        heard = self._heard(speech)
        return encoder.encode(self.model, heard.feats, heard.lengths)[:2]

    @property
    def _decoder(self) -> nn.Module:
        if self.model.decoder is None:
            raise UserError(
                "model_conf.ctc_weight is 1: there is no attention decoder", "conf/asr", "give it a lower weight, or use by: ctc"
            )
        decoder: nn.Module = self.model.decoder
        return decoder

    @property
    def _ctc(self) -> Any:
        if self.model.ctc is None:
            raise UserError(
                "model_conf.ctc_weight is 0: there is no CTC branch",
                "conf/asr",
                "give it a weight, or use by: attention, search: attention",
            )
        return self.model.ctc

    def fits(self, search: Search) -> None:
        """Refuses a search by a branch that the model lacks.

        Raises:
            UserError: it is one.
        """
        if search.method.startswith("ctc") or (search.method == "joint" and search.ctc_weight > 0):
            assert self._ctc
        if search.method == "attention" or (search.method == "joint" and search.ctc_weight < 1):
            assert self._decoder

    def loss(self, batch: Batch, own_inputs: float = 0.0) -> Loss:
        """ESPnet's CTC/attention loss, averaged over utterances.

        Raises:
            UserError: own inputs for a model that has more than these two branches.
        """
        assert batch.speech is not None
        if hybrid.is_hybrid(self.model):
            if own_inputs:
                assert self._decoder
            each, stats = self._each(batch.speech, batch.texts, own_inputs, None if own_inputs else self.graphs.get("losses"))
            value = each.mean()
            return Loss(value, len(batch.texts), {"loss": value.detach(), **stats})
        if own_inputs:
            raise UserError("scheduled sampling needs a model of CTC and attention", "asr.config", "use conf/asr/conformer.yaml")
        speech = self._varied(batch.speech)
        ids, lengths = self.vocabulary.encode(batch.texts, speech.feats.device, IGNORE)
        value, stats, _ = self.model(speech.feats, speech.lengths, ids, lengths)
        return Loss(value, len(batch.texts), {k: v for k, v in stats.items() if v is not None})

    def nbest_loss(self, speech: Speech, texts: Sequence[Sequence[str]], weights: Tensor) -> Loss:
        """The same loss against N texts an utterance; the encoder runs once.

        Args:
            weights: (B, N); rows that sum to one make it an average over utterances.
        """
        each, _ = self._each(speech, [t for row in texts for t in row])
        value = (weights.flatten() * each).sum() / len(texts)
        return Loss(value, len(texts), {"loss": value.detach()})

    def _each(
        self, speech: Speech, texts: Sequence[str], own_inputs: float = 0.0, graphs: Graphs | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """(B n,) losses of n texts an utterance, and what to log."""
        heard = self._heard(self._varied(speech))
        if graphs:  # as wide as this batch can become, whatever the tempo
            heard = heard.wide(round_up(math.ceil(speech.feats.size(1) * (1 + self.augment.speed)), SHORTEST))
        return hybrid.losses(self.model, heard, *self._targets(texts, graphs), own_inputs, graphs)

    def _targets(self, texts: Sequence[str], graphs: Graphs | None = None) -> tuple[Tensor, Tensor]:
        """(N, L) ids on the host, IGNORE behind a text, and (N,) lengths; of few widths where steps are recorded."""
        ids, lengths = self.vocabulary.encode(texts, padding=IGNORE)
        lacking = round_up(ids.size(1), TOKENS) - ids.size(1) if graphs else 0
        return nn.functional.pad(ids, (0, lacking), value=IGNORE), lengths

    def emissions(self, speech: Speech) -> tuple[Tensor, Tensor]:
        """(B, T', V) CTC log-probabilities and (B,) their lengths."""
        assert self._ctc
        out, frames = self._encode(speech)
        return self._ctc.log_softmax(out), frames

    @torch.no_grad()
    def look(self, speech: Speech, text: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """One recording as both branches see it, for figures.

        Returns:
            (T', V) CTC log-probabilities; (T',) states of the forced alignment of `text`, as `align.viterbi` counts them; (L + 1, T') where
            the attention decoder looks while it writes `text`, None where it has no such weights.
        """
        ids, lengths = self.vocabulary.encode([text], speech.feats.device)
        with quiet(self):
            out, frames = self._encode(speech)
            logp = self._ctc.log_softmax(out).float()
            seen = attention.weights(self._decoder, out, frames, ids, lengths, self.model.eos) if self.model.decoder is not None else None
        path, _ = viterbi(logp, frames, ids, lengths)
        return logp[0], path[0], seen[0] if seen is not None else None

    def transcribe(self, speech: Speech, search: Search) -> list[list[Hypothesis]]:
        """N-best lists by the search that the configuration names."""
        return self.listen(speech, search)()

    @torch.no_grad()
    def listen(self, speech: Speech, search: Search) -> Later[list[list[Hypothesis]]]:
        """The same; searches by CTC alone leave it to the caller when to wait for the device."""
        with quiet(self):
            if search.method in ("attention", "joint"):
                lists = self._transcribe_joint(speech, replace(search, ctc_weight=0.0) if search.method == "attention" else search)
                return lambda: lists
            logp, lengths = self.emissions(speech)
        if search.method == "ctc_greedy":
            found = ctc_search.greedy(logp, lengths).fetch()
        elif search.method == "ctc_beam":
            found = ctc_search.prefix_beam(logp, lengths, search.beam, search.top_k).fetch()
        else:
            raise UserError(f"no search {search.method!r}", "method", "choose ctc_greedy, ctc_beam, joint or attention")
        spell = self.vocabulary.decode
        return lambda: [[Hypothesis(spell(ids), value) for ids, value in beam[: search.nbest]] for beam in found()]

    def _transcribe_joint(self, speech: Speech, search: Search) -> list[list[Hypothesis]]:
        """ESPnet's batched CTC/attention beam search, the one of stock `Speech2Text`: one set of calls for all utterances.

        Without CTC and with a beam of 1 it is `sample` at temperature 0, which is faster: one step of the decoder for all.
        """
        self.fits(search)
        out, lengths = self._encode(speech)
        if search.ctc_weight == 0 and search.beam == 1:
            return self._greedy(out, lengths)
        beams = self._beam_search(search)
        lists = beams(x=out, x_lengths=lengths, maxlenratio=0.0, minlenratio=0.0)
        if search.ctc_weight > 0:
            beams.scorers["ctc"].impl = None  # the batch's lattice, the largest of its tensors
        spell = self.vocabulary.decode
        return [[Hypothesis(spell(h.yseq[1:-1].tolist()), float(h.score)) for h in hyps[: search.nbest]] for hyps in lists]

    def _greedy(self, out: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """The most probable token at each place, given those before it."""
        rows = attention.sample(self._decoder, out, lengths, self.model.eos, 0.0)
        texts = [self.vocabulary.decode(row) for row in rows]
        ids, id_lengths = self.vocabulary.encode(texts, out.device)
        logp = attention.logp(self._decoder, out, lengths, ids, id_lengths, self.model.eos)
        return [[Hypothesis(text, float(value))] for text, value in zip(texts, logp.cpu(), strict=True)]

    def _beam_search(self, search: Search) -> Any:
        from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
        from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer
        from espnet2.legacy.nets.scorers.length_bonus import LengthBonus

        key = (search.beam, search.ctc_weight)
        if self._joint is None or self._joint[0] != key:
            model, n = self.model, len(self.vocabulary)
            scorers = {"decoder": model.decoder, "length_bonus": LengthBonus(n)}
            if search.ctc_weight > 0:
                scorers["ctc"] = CTCPrefixScorer(ctc=model.ctc, eos=model.eos)
            weights = {"decoder": 1.0 - search.ctc_weight, "ctc": search.ctc_weight, "length_bonus": 0.0}
            beams = BatchBeamSearch(
                beam_size=search.beam, weights=weights, scorers=scorers, sos=model.sos, eos=model.eos, vocab_size=n,
                token_list=self.vocabulary.tokens, pre_beam_score_key=None if search.ctc_weight == 1.0 else "full",
            )  # fmt: skip
            self._joint = (key, beams.to(next(model.parameters()).device).eval())
        return self._joint[1]

    @torch.no_grad()
    def sample(self, speech: Speech, n: int = 1, temperature: float = 1.0, by: Branch = "ctc") -> list[list[str]]:
        """Ancestral sampling: CTC paths frame by frame, collapsed; attention token by token, up to the end token."""
        with quiet(self):
            out, lengths = self._encode(speech)
            if by == "attention":
                memory, frames = out.repeat_interleave(n, 0), lengths.repeat_interleave(n)
                flat = attention.sample(self._decoder, memory, frames, self.model.eos, temperature)
                rows = [flat[i * n : (i + 1) * n] for i in range(len(out))]
            elif temperature == 0:
                best = hybrid.lattice(self.model, self._ctc.log_softmax(out)).argmax(-1)
                rows = [[ids] * n for ids in ctc_search.collapse(best, lengths)]
            else:
                rows = sampling.ctc_paths(hybrid.lattice(self.model, self._ctc.log_softmax(out), temperature), lengths, n)
        return [[self.vocabulary.decode(ids) for ids in row] for row in rows]

    def logp(self, speech: Speech, texts: Sequence[Sequence[str]], by: Branch = "ctc", temperature: float = 1.0) -> Tensor:
        """(B, N) log-probability of N texts an utterance, with gradient and without training noise.

        `ctc` sums over every path, `attention` multiplies up to the end token. The encoder runs once per utterance, however many texts.
        A text that does not fit into the encoder's outputs gets UNFIT and no gradient.
        """
        n, flat = len(texts[0]), [t for row in texts for t in row]
        with quiet(self):
            if by == "attention":
                out, lengths = self._encode(speech)
                memory, frames = out.repeat_interleave(n, 0), lengths.repeat_interleave(n)
                ids, id_lengths = self.vocabulary.encode(flat, out.device)
                value = attention.logp(self._decoder, memory, frames, ids, id_lengths, self.model.eos, temperature)
            else:
                value = self._ctc_logp(speech, flat, temperature)
        return value.view(len(texts), n)

    def _ctc_logp(self, speech: Speech, texts: Sequence[str], temperature: float) -> Tensor:
        """(B n,) CTC log-probability of n texts an utterance."""
        assert self._ctc
        graphs = self.graphs.get("logp") if temperature == 1 else None  # a recording would keep the one it was made with
        ids, lengths = self._targets(texts, graphs)
        heard, device = self._heard(speech), speech.feats.device
        if graphs:
            heard = heard.wide(max(SHORTEST, speech.feats.size(1)))
        given = (heard.feats, heard.lengths, ids.to(device, non_blocking=True), lengths.to(device, non_blocking=True))
        stepwise = partial(hybrid.text_logp, self.model, *given, temperature, (ids, lengths))
        return (graphs(self.model, *given, otherwise=stepwise) if graphs else stepwise())[0]

    def soft_tokens(self, speech: Speech, texts: Sequence[str], temperature: float) -> Tensor:
        """(B, L, V) straight-through one-hots of texts that `sample(by="attention")` drew; the decoder's own history counts as given."""
        with quiet(self):
            out, lengths = self._encode(speech)
            ids, id_lengths = self.vocabulary.encode(texts, out.device)
            inputs, _ = attention.bordered(ids, id_lengths, self.model.eos)
            scores = attention.next_logp(attention.logits(self._decoder, out, lengths, inputs, id_lengths + 1))
        return sampling.straight_through(scores[:, :-1], ids, temperature)
