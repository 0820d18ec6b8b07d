"""Tacotron 2 taken apart: teacher forcing, its frame likelihood, samples of it, and its own frames as inputs.

ESPnet's prenet drops units at any time, in evaluation mode too (it keeps free running lively): a likelihood may not, so `still` stops it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cycle.data.batch import within
from cycle.data.types import Speech
from cycle.device import send
from cycle.models.espnet import Prenet
from cycle.models.fastspeech import with_end
from cycle.models.noise import quiet
from cycle.models.sampling import embedded
from cycle.models.synthesizer import Action


@contextlib.contextmanager
def still(tts: nn.Module) -> Iterator[None]:
    """Evaluation mode without the prenet's dropout."""
    prenets = [m for m in tts.modules() if isinstance(m, Prenet)]
    rates = [m.dropout_rate for m in prenets]
    with quiet(tts):
        try:
            for m in prenets:
                m.dropout_rate = 0.0
            yield
        finally:
            for m, rate in zip(prenets, rates, strict=True):
                m.dropout_rate = rate


def teacher_forced(
    tts: Any, ids: Tensor, lengths: Tensor, feats: Tensor, frames: Tensor, spk: dict[str, Tensor], soft: Tensor | None = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Frames as predicted from the true ones before them.

    One sentence after another: ESPnet's convolutions (encoder, postnet) let padding change the numbers.

    Args:
        ids: (B, L); lengths: (B,); feats: (B, T, M); frames: (B,).
        soft: (B, L + 1, V) tokens with gradient, embedded in place of the ids and the sentence end.

    Returns:
        (B, T', M) twice, behind and before the postnet; T' is T cut to a multiple of the reduction factor.
    """
    xs, full = with_end(tts, ids, lengths)
    outs = []
    for i, (tokens, steps) in enumerate(zip(full.tolist(), frames.tolist(), strict=True)):
        with embedded(tts.enc.embed, soft[i : i + 1, :tokens]) if soft is not None else contextlib.nullcontext():
            outs.append(tts._forward(
                xs=xs[i : i + 1, :tokens], ilens=full[i : i + 1], ys=feats[i : i + 1, :steps], olens=frames[i : i + 1],
                spembs=spk["spembs"][i : i + 1] if "spembs" in spk else None, sids=None, lids=None,
            ))  # fmt: skip
    after, before = (nn.utils.rnn.pad_sequence([out[k][0] for out in outs], batch_first=True) for k in range(2))
    return after, before


def distance(tts: Any, inputs: dict[str, Tensor], spk: dict[str, Tensor], soft: Tensor | None = None) -> Tensor:
    """(B,) mean absolute error under teacher forcing."""
    feats, frames = inputs["feats"], inputs["feats_lengths"]
    after, _ = teacher_forced(tts, inputs["text"], inputs["text_lengths"], feats, frames, spk, soft)
    whole = frames - frames % tts.reduction_factor
    inside = within(whole, after.size(1))
    return ((after - feats[:, : after.size(1)]).abs().mean(-1) * inside).sum(1) / whole


@torch.no_grad()
def draw(tts: Any, ids: list[Tensor], spk: list[dict[str, Tensor]], std: float) -> tuple[Action, Speech]:
    """Free-running samples: each frame is drawn around the decoder's output and fed back, one sentence after another.

    The stop is the decoder's own threshold, not a draw.
    """
    rows, frames = [], []
    for text, speaker in zip(ids, spk, strict=True):
        drawn: list[Tensor] = []

        def noisy(module: nn.Module, args: Any, out: Tensor, drawn: list[Tensor] = drawn) -> Tensor:
            drawn.append(out + std * torch.randn_like(out))
            return drawn[-1]

        handle = tts.dec.feat_out.register_forward_hook(noisy)
        try:
            rows.append(tts.inference(text, **speaker)["feat_gen"])
        finally:
            handle.remove()
        frames.append(torch.cat([out.view(tts.odim, -1) for out in drawn], dim=1).T)
    lengths = send([len(row) for row in rows], rows[0].device)
    values = nn.utils.rnn.pad_sequence(frames, batch_first=True)
    return Action(values, lengths), Speech(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


@contextlib.contextmanager
def own_inputs(tts: Any, share: float) -> Iterator[None]:
    """Inside the block, the decoder reads its own last frame in place of the true one, in this share of the steps (Bengio et al. 2015).

    The frame it reads carries no gradient.
    """
    last: list[Tensor] = []

    def keep(module: nn.Module, args: Any, out: Tensor) -> None:
        last[:] = [out.detach().view(len(out), tts.odim, -1)[:, :, -1]]

    def mix(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        (true,) = args
        if not last or len(last[0]) != len(true):  # nothing said yet
            return args
        swap = torch.rand((len(true), 1), device=true.device) < share
        return (torch.where(swap, last[0].to(true.dtype), true),)

    handles = [tts.dec.feat_out.register_forward_hook(keep), tts.dec.prenet.register_forward_pre_hook(mix)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
