"""A recogniser over three letters whose strings can all be counted, for brute force: at most three letters, each given those before it."""

from __future__ import annotations

import itertools

import torch

from cycle.data.batch import Batch, Hypothesis
from cycle.data.types import Speech

LETTERS, END, LONGEST = ("a", "b", "c"), 3, 3
STRINGS = [" ".join(s) for n in range(LONGEST + 1) for s in itertools.product(LETTERS, repeat=n)]  # 40, the empty one included


class ToyRecognizer(torch.nn.Module):
    """Next letter (or the end) given the history, one table of logits a history; the speech is ignored but for its batch size."""

    def __init__(self, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        histories = [h for n in range(LONGEST) for h in itertools.product(range(3), repeat=n)]
        self.index = {h: i for i, h in enumerate(histories)}
        self.table = torch.nn.Parameter(torch.randn(len(histories), 4, generator=generator))

    def one(self, text: str, temperature: float = 1.0) -> torch.Tensor:
        ids = [LETTERS.index(t) for t in text.split()]
        total = self.table.new_zeros(())
        for n in range(min(len(ids) + 1, LONGEST)):  # after the longest string the end is certain
            token = ids[n] if n < len(ids) else END
            total = total + (self.table[self.index[tuple(ids[:n])]] / temperature).log_softmax(-1)[token]
        return total

    def logp(self, speech, texts, by="attention", temperature=1.0):
        of = {t: self.one(t, temperature) for t in {t for row in texts for t in row}}
        return torch.stack([torch.stack([of[t] for t in row]) for row in texts])

    @torch.no_grad()
    def sample(self, speech, n=1, temperature=1.0, by="attention"):
        scores = torch.stack([self.one(t, temperature or 1.0) for t in STRINGS])
        if temperature == 0:
            return [[self.greedy()] * n for _ in speech.lengths]
        drawn = torch.multinomial(scores.exp(), len(speech.lengths) * n, replacement=True).view(-1, n)
        return [[STRINGS[i] for i in row] for row in drawn.tolist()]

    def greedy(self) -> str:
        ids: list[int] = []
        while len(ids) < LONGEST and (token := int(self.table[self.index[tuple(ids)]].argmax())) != END:
            ids.append(token)
        return " ".join(LETTERS[i] for i in ids)

    @torch.no_grad()
    def transcribe(self, speech, search):
        scored = sorted(((float(self.one(t)), t) for t in STRINGS), reverse=True)[: search.nbest]
        return [[Hypothesis(t, s) for s, t in scored] for _ in speech.lengths]

    def p(self, temperature: float = 1.0) -> torch.Tensor:
        """(40,) probability of every string."""
        return torch.stack([self.one(t, temperature) for t in STRINGS]).exp()


def toy_batch(refs: list[str]) -> Batch:
    n = len(refs)
    return Batch([str(i) for i in range(n)], ["s"] * n, refs, Speech(torch.zeros(n, 4, 2), torch.full((n,), 4)))
