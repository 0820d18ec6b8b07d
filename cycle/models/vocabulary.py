"""Tokens and their numbers, as ESPnet wants them: blank 0, unknown 1, sentence end last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cycle.data.types import BLANK, END, UNKNOWN
from cycle.files import write_text


class Vocabulary:
    """The token list that both models share."""

    def __init__(self, tokens: Sequence[str]):
        assert tokens[0] == BLANK and tokens[-1] == END, "not a token list of ours"
        self.tokens = list(tokens)
        self.index = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """All tokens of some texts, sorted."""
        return cls([BLANK, UNKNOWN, *sorted({t for text in texts for t in text.split()}), END])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        return cls(path.read_text(encoding="utf-8").split("\n")[:-1])

    def write(self, path: Path) -> None:
        write_text(path, "".join(f"{token}\n" for token in self.tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    def ids(self, text: str) -> list[int]:
        return [self.index.get(token, 1) for token in text.split()]

    def encode(self, texts: Sequence[str], device: torch.device | str = "cpu", padding: int = 0) -> tuple[Tensor, Tensor]:
        """Texts to (B, L) ids and (B,) lengths."""
        rows = [self.ids(text) for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        width = max([1, *map(len, rows)])
        out = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
        return out.to(device, non_blocking=True), lengths.to(device, non_blocking=True)

    def decode(self, ids: Iterable[int]) -> str:
        """Ids to text; blank and sentence end are left out."""
        tokens, end = self.tokens, len(self.tokens) - 1  # eight hypotheses an utterance are spelled: it counts
        return " ".join([tokens[i] for i in ids if 0 < i < end])
