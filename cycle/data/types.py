"""What travels between rooms: utterances on disk, speech on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cycle.device import send

if TYPE_CHECKING:
    from torch import Tensor

BLANK, UNKNOWN, END = "<blank>", "<unk>", "<sos/eos>"  # tokens that no text holds
POOLS = ("paired", "speech", "text", "dev", "test")


@dataclass(frozen=True)
class Utterance:
    """One utterance of a pool; the half that a pool lacks is None.

    Attributes:
        utt_id: unique id without white space or path separators.
        spk: who speaks.
        wav: the recording, None in a text pool.
        text: what is said, in the corpus's own writing; None in a speech pool.
        seconds: length of the recording, None where it is not known yet.
        others: further texts that describe the same, where people were asked for several.
    """

    utt_id: str
    spk: str
    wav: Path | None = None
    text: str | None = None
    seconds: float | None = None
    others: tuple[str, ...] = ()


@dataclass
class Speech:
    """A batch of speech as both models see it.

    Attributes:
        feats: (B, T, M) scaled log-mel of `cycle.data.features`, zero behind each utterance's end.
        lengths: (B,) frames.
        known: the lengths on the host, where they are known without waiting for the device.
    """

    feats: Tensor
    lengths: Tensor
    known: Tensor | None = None

    def __post_init__(self) -> None:
        if self.known is None and self.lengths.device.type == "cpu":
            self.known = self.lengths

    def to(self, device: object) -> Speech:
        """The same on a device, in single precision; half of it travels where it is stored so."""
        free = not str(device).startswith("cpu")  # the host must not look before it is there
        feats, lengths = self.feats.to(device, non_blocking=free).float(), self.lengths.to(device, non_blocking=free)  # type: ignore[call-overload]
        return Speech(feats, lengths, self.known)

    def wide(self, width: int) -> Speech:
        """The same with zeros up to `width` frames."""
        import torch

        return Speech(torch.nn.functional.pad(self.feats, (0, 0, 0, width - self.feats.size(1))), self.lengths, self.known)

    def rows(self, index: Sequence[int]) -> Speech:
        """Some of the utterances, any of them more than once."""
        at = send(index, self.feats.device)
        return Speech(self.feats[at], self.lengths[at], None if self.known is None else self.known[list(index)])
