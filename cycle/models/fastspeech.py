"""FastSpeech2 taken apart: prosody from recordings, rendering with variation and with gradients, and how well a text explains a recording.

ESPnet's `inference` runs one utterance, without gradient and without choosing pitch or energy. These functions call the same modules in the
same order; a test holds them to ESPnet's own output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cycle.data.batch import within
from cycle.data.types import Speech
from cycle.device import send
from cycle.models.graphs import Graphs, is_steady
from cycle.models.synthesizer import Action, Rendering, Spread, Variation


def token_mean(values: Tensor, durations: Tensor) -> Tensor:
    """Averages frames over tokens.

    Args:
        values: (B, T).
        durations: (B, L) frames, rows sum to at most T.

    Returns:
        (B, L), zero for a token without frames.
    """
    sums = torch.nn.functional.pad(values.cumsum(1), (1, 0))
    ends = durations.cumsum(1).clamp(max=values.size(1))
    starts = ends - durations
    return (sums.gather(1, ends) - sums.gather(1, starts.clamp(min=0))) / durations.clamp(min=1)


def prosody(
    speech: Speech, f0: Tensor, durations: Tensor, f0_stats: tuple[float, float], energy_stats: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Pitch and energy per token in standard deviations of the corpus, (B, L + 1, 1) each; zero where a token has no frames."""
    heard = durations > 0
    pitch = (token_mean(f0, durations) - f0_stats[0]) / f0_stats[1]
    energy = (token_mean(speech.feats.mean(-1), durations) - energy_stats[0]) / energy_stats[1]
    return (pitch * heard)[..., None], (energy * heard)[..., None]


def with_end(tts: Any, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Appends the end token to (B, L) ids."""
    xs = torch.nn.functional.pad(ids, (0, 1), value=tts.padding_idx)
    return xs.scatter(1, lengths[:, None], tts.eos), lengths + 1


def encode(tts: Any, xs: Tensor, lengths: Tensor, spk: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Hidden states (B, L + 1, D) with the speaker in them, and the mask (B, L + 1), true behind the end."""
    behind = ~within(lengths, xs.size(1))
    hidden, _ = tts.encoder(xs, ~behind[:, None])
    if tts.spk_embed_dim is not None:
        hidden = tts._integrate_with_spk_embed(hidden, spk["spembs"])
    return hidden, behind


def regulate(hidden: Tensor, durations: Tensor, width: int) -> Tensor:
    """Each token's state as often as it has frames: ESPnet's length regulator, without a loop over the batch.

    Args:
        hidden: (B, L, D); durations: (B, L).

    Returns:
        (B, width, D), zero behind the last frame.
    """
    B, L, D = hidden.shape
    ends = durations.cumsum(1)
    token = torch.searchsorted(ends, torch.arange(width, device=ends.device).expand(B, width).contiguous(), right=True)
    row = token.clamp(max=L - 1) + L * torch.arange(B, device=ends.device)[:, None]
    picked = torch.nn.functional.embedding(row, hidden.reshape(B * L, D))  # of gather, indices and a lookup the cheapest gradient
    return picked * (token < L)[..., None]


def render(
    tts: Any, hidden: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, width: int | None = None, graphs: Graphs | None = None
) -> Speech:
    """Decodes hidden states with given frames, pitch and energy per token ((B, L + 1) and twice (B, L + 1, 1)).

    Args:
        width: frames of the longest, or more; None asks the device.
        graphs: recordings of `sound`, which are made for few widths.
    """
    lengths = durations.sum(1)
    if width is None:
        width = int(lengths.max())
    inside = within(lengths, few_widths(width) if graphs else width)
    (feats,) = (graphs or sound)(tts, hidden, durations, pitch, energy, inside)
    return Speech(feats, lengths)


def sound(tts: Any, hidden: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, inside: Tensor) -> tuple[Tensor]:
    """(B, width, M) features of `render`; `inside`, (B, width), is true where there are any."""
    _, feats, _ = _decode(tts, hidden, durations, pitch, energy, inside.size(1))
    return (feats * inside[..., None],)


def few_widths(frames: int) -> int:
    """The next of two widths an octave (64, 96, 128, 192, ...). What is rendered is as long as it happens to be."""
    step = 1 << max(5, (frames - 1).bit_length() - 2)
    return -(-frames // step) * step


def _decode(tts: Any, hidden: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, width, M) features before and after the post-net, and (B,) their lengths."""
    p = tts.pitch_embed(pitch.transpose(1, 2)).transpose(1, 2)
    e = tts.energy_embed(energy.transpose(1, 2)).transpose(1, 2)
    lengths = durations.sum(1)
    masks = within(lengths, width)[:, None]
    decoded, _ = tts.decoder(regulate(hidden + e + p, durations, width), masks)
    before = tts.feat_out(decoded).view(decoded.size(0), -1, tts.odim)
    after = before if tts.postnet is None else before + tts.postnet(before.transpose(1, 2), masks).transpose(1, 2)
    return before, after, lengths


def is_recordable(tts: Any) -> bool:
    """Whether `losses` is the same sequence of operations for every batch of a shape."""
    return is_plain(tts) and is_steady(tts)


def is_plain(tts: Any) -> bool:
    """Whether a FastSpeech2's loss is that of `loss`: no style tokens or languages, one frame a step, means over what is no padding."""
    criterion = tts.criterion
    return (
        not tts.use_gst and tts.langs is None and tts.reduction_factor == 1 and criterion.use_masking and not criterion.use_weighted_masking
    )


INPUTS = ("text", "text_lengths", "feats", "feats_lengths", "durations", "pitch", "energy", "spembs")
PARTS = ("l1_loss", "duration_loss", "pitch_loss", "energy_loss")


def loss(tts: Any, inputs: dict[str, Tensor], graphs: Graphs | None = None) -> tuple[Tensor, Tensor]:
    """ESPnet's loss of FastSpeech2, without its questions to the device, of which there are two an utterance.

    Args:
        inputs: the arguments of ESPnet's `forward`, padded to the longest of the batch, or longer.
        graphs: recordings of `losses`.

    Returns:
        the sum of `losses`; (4,) each of them, see PARTS.
    """
    given = [inputs[name] for name in INPUTS if name in inputs]
    parts = torch.stack(graphs(tts, *given) if graphs else losses(tts, *given))
    return parts.sum(), parts


def losses(
    tts: Any, text: Tensor, text_lengths: Tensor, feats: Tensor, feats_lengths: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor,
    spembs: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Mean absolute error of the features (before and after the post-net), mean squared errors of log-duration, pitch and energy."""
    xs, full = with_end(tts, text, text_lengths)
    hidden, behind = encode(tts, xs, full, {} if spembs is None else {"spembs": spembs})
    tone = tts.pitch_predictor(hidden.detach() if tts.stop_gradient_from_pitch_predictor else hidden, behind[..., None])
    force = tts.energy_predictor(hidden.detach() if tts.stop_gradient_from_energy_predictor else hidden, behind[..., None])
    log_frames = tts.duration_predictor(hidden, behind)
    before, after, _ = _decode(tts, hidden, durations, pitch, energy, feats.size(1))
    inside = within(feats_lengths, feats.size(1))[..., None]
    mel = masked_mean((before - feats).abs(), inside)
    if tts.postnet is not None:
        mel = mel + masked_mean((after - feats).abs(), inside)
    return (
        mel,
        masked_mean((log_frames - (durations.float() + 1).log()) ** 2, ~behind),
        masked_mean((tone - pitch) ** 2, ~behind[..., None]),
        masked_mean((force - energy) ** 2, ~behind[..., None]),
    )


def masked_mean(values: Tensor, counts: Tensor) -> Tensor:
    """The mean of the values that count; `counts` is true there, and is expanded to the shape of the values."""
    return values.masked_fill(~counts, 0.0).sum() / counts.expand_as(values).sum()


def _noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device if generator else like.device).to(like.device)


def plan(tts: Any, xs: Tensor, lengths: Tensor, spembs: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What FastSpeech2 thinks of texts that `with_end` returns: hidden states (B, L + 1, D), pitch and energy (B, L + 1, 1), and, without
    gradient, (B, L + 1) frames."""
    hidden, behind = encode(tts, xs, lengths, {} if spembs is None else {"spembs": spembs})
    pitch = tts.pitch_predictor(hidden, behind[..., None])
    energy = tts.energy_predictor(hidden, behind[..., None])
    with torch.no_grad():
        frames = tts.duration_predictor.inference(hidden, behind).float()
    return hidden, pitch, energy, frames


def synthesize(
    tts: Any, ids: Tensor, lengths: Tensor, spk: dict[str, Tensor], variation: Variation, generator: torch.Generator | None = None,
    graphs: Mapping[str, Graphs] | None = None,
) -> Rendering:  # fmt: skip
    """Speaks a batch of (B, L) ids; durations carry no gradient, features do.

    Args:
        graphs: recordings of `plan` and `sound`, by these names.
    """
    known = graphs or {}
    xs, full = with_end(tts, ids, lengths)
    hidden, pitch, energy, frames = known.get("plan", plan)(tts, xs, full, *spk.values())
    behind = ~within(full, xs.size(1))
    with torch.no_grad():
        B, L = frames.shape
        if variation.duration or variation.speed:
            stretch = variation.duration * _noise((B, L), frames, generator) + variation.speed * _noise((B, 1), frames, generator)
            frames = (frames * stretch.exp()).round()
        frames = frames.masked_fill(behind, 0).long()
        frames[:, 0] += frames.sum(1) == 0  # a row without any frame breaks a batch
    if variation.pitch:
        pitch = pitch + variation.pitch * _noise((B, 1, 1), pitch, generator)
    if variation.energy:
        energy = energy + variation.energy * _noise((B, 1, 1), energy, generator)
    speech = render(tts, hidden, frames, pitch, energy, graphs=known.get("sound"))
    return Rendering(speech, frames, pitch[..., 0].masked_fill(behind, 0))


def policy(tts: Any, ids: Tensor, lengths: Tensor, spk: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The means of the Gaussian policy.

    Returns:
        (B, L + 1, 3) ln(frames + 1), pitch and energy of each token; hidden states (B, L + 1, D); (B,) steps.
    """
    xs, full = with_end(tts, ids, lengths)
    hidden, behind = encode(tts, xs, full, spk)
    frames = tts.duration_predictor(hidden, behind)[..., None]
    tone, force = tts.pitch_predictor(hidden, behind[..., None]), tts.energy_predictor(hidden, behind[..., None])
    return torch.cat([frames, tone, force], dim=-1).masked_fill(behind[..., None], 0.0), hidden, full


def draw(tts: Any, ids: Tensor, lengths: Tensor, spk: dict[str, Tensor], spread: Spread) -> tuple[Action, Speech]:
    """Samples prosody from the policy and renders it."""
    means, hidden, full = policy(tts, ids, lengths, spk)
    inside = within(full, means.size(1))[..., None]
    std = send(stds(spread), means.device)
    values = (means.float() + std * torch.randn_like(means, dtype=torch.float32)) * inside
    frames = ((values[..., 0].exp() - 1).round().clamp(min=0) * inside[..., 0]).long()
    frames[:, 0] += frames.sum(1) == 0  # a row without any frame breaks a batch
    return Action(values, full), render(tts, hidden, frames, values[..., 1:2], values[..., 2:3])


def stds(spread: Spread) -> tuple[float, float, float]:
    return spread.duration, spread.pitch, spread.energy


def recorded(inputs: dict[str, Tensor]) -> Action:
    """The prosody of recordings as the policy's action."""
    values = torch.cat([(inputs["durations"].float() + 1).log()[..., None], inputs["pitch"], inputs["energy"]], dim=-1)
    lengths = inputs["text_lengths"] + 1
    inside = within(lengths, values.size(1))
    return Action(values * inside[..., None], lengths)


def distance(tts: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(B,) how far recordings are from what the model makes of their texts, under given durations.

    The mean absolute error of the features rendered with the *predicted* pitch and energy (a wrong tone must cost), plus the squared errors
    of predicted pitch and log-duration per token: minus the log-likelihood, up to constants, of a Laplacian over features and Gaussians
    over prosody.
    """
    xs, full = with_end(tts, inputs["text"], inputs["text_lengths"])
    hidden, behind = encode(tts, xs, full, inputs)
    pitch = tts.pitch_predictor(hidden, behind[..., None])
    energy = tts.energy_predictor(hidden, behind[..., None])
    durations = inputs["durations"]
    log_frames = tts.duration_predictor(hidden, behind)
    feats = inputs["feats"]
    made = render(tts, hidden, durations, pitch, energy, feats.size(1))
    inside = within(inputs["feats_lengths"], feats.size(1))
    mel = ((made.feats - feats).abs().mean(-1) * inside).sum(1) / inside.sum(1)
    tokens = (~behind).sum(1)
    tone = (((pitch - inputs["pitch"])[..., 0] ** 2) * ~behind).sum(1) / tokens
    rhythm = (((log_frames - (durations.float() + 1).log()) ** 2) * ~behind).sum(1) / tokens
    return mel + 0.1 * tone + 0.1 * rhythm
