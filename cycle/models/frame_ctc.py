"""A small CTC model of frames: the aligner, and, with a BLSTM and another seed, the judge outside the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cycle.data.batch import Batch, Hypothesis, Loss, within
from cycle.data.types import Speech
from cycle.models.align import durations, viterbi
from cycle.models.ctc_search import greedy
from cycle.models.noise import quiet
from cycle.models.vocabulary import Vocabulary
from cycle.settings import FrameModel, Search

RAREST = 1e-5  # prior of a label below which it counts as this
PRIOR_RATE = 0.02  # share of a batch in the running prior
UNALIGNED = -1e3  # log-probability per frame below which a recording is too short for its tokens


class FrameCTC(nn.Module):
    """Convolutions, perhaps a BLSTM, CTC.

    An aligner needs three things that a recogniser does without. One output a frame: ESPnet's encoders subsample by two or more. A
    narrow view: a model that hears the whole utterance says all tokens where it likes, several in a row at its start. And scores in which
    blank has no advantage: plain CTC learns to say blank nearly everywhere and each token in a single frame. So the outputs are divided by
    a power of the labels' prior, in training and in alignment, after Huang et al. 2024, "Less peaky and more accurate CTC forced alignment
    by label priors" (2406.02560). The prior is the mean posterior of the last batches.

    The gradient is not that of their loss, p - gamma to the logits (gamma: the labels' posterior given the text). Torch's CTC takes what it
    is given for distributions; ours, p / prior^power, sum to Z, and with q = p / prior^power / Z the gradient is p - gamma + Z (q - p).
    With their own gradient as many updates find no borders: docs/cycle.md, "An aligner that finds the borders".
    """

    prior: Tensor

    def __init__(self, vocabulary: Vocabulary, n_mels: int, conf: FrameModel):
        super().__init__()
        self.vocabulary, self.conf = vocabulary, conf
        c = conf.channels
        layers: list[nn.Module] = []
        for n in range(conf.convs):
            stride = conf.subsample if n == conf.convs - 1 else 1
            layers += [nn.Conv1d(c if n else n_mels, c, 5, padding=2, stride=stride), nn.ReLU(), nn.Dropout(0.2)]
        self.front = nn.Sequential(*layers)
        between = 0.2 if conf.layers > 1 else 0.0
        self.rnn = nn.LSTM(c, c, conf.layers, batch_first=True, bidirectional=True, dropout=between) if conf.layers else None
        self.out = nn.Linear(2 * c if conf.layers else c, len(vocabulary))
        self.register_buffer("prior", torch.full((len(vocabulary),), 1 / len(vocabulary)))

    def emissions(self, speech: Speech) -> tuple[Tensor, Tensor]:
        """(B, T', V) scores, log-probabilities where `label_prior` is 0, and (B,) their lengths."""
        hidden = self.front(speech.feats.transpose(1, 2)).transpose(1, 2)
        lengths = self._outputs(speech.lengths)
        if self.rnn is not None:
            packed = pack_padded_sequence(hidden, self._known(speech), batch_first=True, enforce_sorted=False)
            hidden, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=hidden.size(1))
        logp = self.out(hidden).float().log_softmax(-1)
        if not self.conf.label_prior:
            return logp, lengths
        if self.training:
            self._watch(logp.detach(), lengths)
        return logp - self.conf.label_prior * self.prior.clamp(min=RAREST).log(), lengths

    def _outputs(self, frames: Tensor) -> Tensor:
        return (frames - 1) // self.conf.subsample + 1

    def _known(self, speech: Speech) -> Tensor:
        """How many outputs there are, on the host, where torch wants to have it."""
        return self._outputs(speech.lengths.cpu() if speech.known is None else speech.known)

    def _watch(self, logp: Tensor, lengths: Tensor) -> None:
        """Follows the mean posterior of each label."""
        inside = within(lengths, logp.size(1))[..., None]
        self.prior.lerp_((logp.exp() * inside).sum((0, 1)) / inside.sum(), PRIOR_RATE)

    def loss(self, batch: Batch) -> Loss:
        assert batch.speech is not None
        logp, _ = self.emissions(batch.speech)
        ids, id_lengths = self.vocabulary.encode(batch.texts)
        sent = ids.to(logp.device, non_blocking=True)
        sizes: Any = (tuple(self._known(batch.speech).tolist()), tuple(id_lengths.tolist()))  # see `ctc_logp.by_torch`
        value = nn.functional.ctc_loss(logp.transpose(0, 1), sent, *sizes, reduction="none", zero_infinity=True)
        return Loss(value.mean(), len(batch.texts), {"loss": value.detach().mean()})

    @torch.no_grad()
    def transcribe(self, speech: Speech, search: Search | None = None) -> list[list[Hypothesis]]:
        """Greedy transcripts."""
        with quiet(self):
            best = greedy(*self.emissions(speech)).lists()
        return [[Hypothesis(self.vocabulary.decode(ids), value) for ids, value in beam] for beam in best]

    @torch.no_grad()
    def align(self, speech: Speech, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Frames per token.

        Returns:
            (B, L + 1) durations that sum to `speech.lengths`, and (B,) log-probability of the alignment per frame; below UNALIGNED where
            the recording is too short for its tokens.
        """
        assert self.conf.subsample == 1, "durations need one output a frame"
        with quiet(self):
            logp, lengths = self.emissions(speech)
        ids, id_lengths = self.vocabulary.encode(texts, logp.device)
        path, value = viterbi(logp.float(), lengths, ids, id_lengths)
        return durations(path, lengths, id_lengths), value / lengths
