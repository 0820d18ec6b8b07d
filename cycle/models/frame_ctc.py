"""A small CTC model of convolutions and a BLSTM: the aligner, and, larger and with another seed, the judge outside the loop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cycle.config import FrameModel, Search
from cycle.data.batch import Batch, Hypothesis, Loss
from cycle.data.types import Speech
from cycle.models.align import durations, viterbi
from cycle.models.ctc_search import greedy
from cycle.models.noise import quiet
from cycle.models.vocabulary import Vocabulary

UNALIGNED = -1e3  # log-probability per frame below which a recording is too short for its tokens


class FrameCTC(nn.Module):
    """Convolutions, BLSTM, CTC; with `subsample: 1` one output a frame, fine enough for durations.

    ESPnet's encoders subsample by two or more, too coarse to align (the evidence is in docs/cycle.md).
    """

    def __init__(self, vocabulary: Vocabulary, n_mels: int, conf: FrameModel):
        super().__init__()
        self.vocabulary, self.conf = vocabulary, conf
        c = conf.channels
        self.front = nn.Sequential(
            nn.Conv1d(n_mels, c, 5, padding=2), nn.ReLU(), nn.Dropout(0.2),
            nn.Conv1d(c, c, 5, padding=2, stride=conf.subsample), nn.ReLU(), nn.Dropout(0.2),
        )  # fmt: skip
        self.rnn = nn.LSTM(c, c, conf.layers, batch_first=True, bidirectional=True, dropout=0.2 if conf.layers > 1 else 0.0)
        self.out = nn.Linear(2 * c, len(vocabulary))

    def emissions(self, speech: Speech) -> tuple[Tensor, Tensor]:
        """(B, T', V) log-probabilities and (B,) their lengths."""
        hidden = self.front(speech.feats.transpose(1, 2)).transpose(1, 2)
        lengths = (speech.lengths - 1) // self.conf.subsample + 1
        packed = pack_padded_sequence(hidden, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=hidden.size(1))
        return self.out(hidden).log_softmax(-1), lengths

    def loss(self, batch: Batch) -> Loss:
        assert batch.speech is not None
        logp, lengths = self.emissions(batch.speech)
        ids, id_lengths = self.vocabulary.encode(batch.texts, logp.device)
        value = nn.functional.ctc_loss(logp.float().transpose(0, 1), ids, lengths, id_lengths, reduction="none", zero_infinity=True)
        return Loss(value.mean(), len(batch.texts), {"loss": value.detach().mean()})

    @torch.no_grad()
    def transcribe(self, speech: Speech, search: Search | None = None) -> list[list[Hypothesis]]:
        """Greedy transcripts."""
        with quiet(self):
            tokens, logp = greedy(*self.emissions(speech))
        return [[Hypothesis(self.vocabulary.decode(t), float(p))] for t, p in zip(tokens, logp.cpu(), strict=True)]

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
