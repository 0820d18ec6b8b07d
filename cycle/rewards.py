"""How good a transcript or a rendering is: plain functions, higher is better, None where a reward cannot judge.

Each takes lists in step (one entry an item) and returns one value an item. They carry no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cycle.data.batch import Batch, first_texts
from cycle.data.text import Units, spelling
from cycle.data.types import Speech
from cycle.device import send
from cycle.errors import UserError
from cycle.eval.cider import CiderD
from cycle.eval.errors import distance
from cycle.models.frame_ctc import UNALIGNED, FrameCTC
from cycle.models.ngram import NGram
from cycle.models.recognizer import UNFIT, Recognizer
from cycle.models.speaker import long_term_spectrum
from cycle.models.synthesizer import Synthesizer
from cycle.settings import Search

Reward = float | None


def units(language: str, level: str) -> Units:
    """What turns tokens into the units of an error rate.

    Args:
        level: token, or a rate of the language's spelling: syllable, toneless (Mandarin); word, char (letters); or unit, whichever the
            language is judged by.

    Raises:
        UserError: a level that the language does not have.
    """
    rates = spelling(language).rates
    known: dict[str, Units] = {"token": list, **rates, "unit": next(iter(rates.values()))}
    if level not in known:
        raise UserError(f"no {level!r} in language {language!r}", "level", f"choose one of: {', '.join(sorted(known))}")
    return known[level]


def error_rate(hyps: Sequence[str], refs: Sequence[str], of: Units = list) -> list[Reward]:
    """Minus the errors as a share of the reference's units; None without a reference.

    Args:
        of: turns tokens into units; see `units`.
    """
    values: list[Reward] = []
    for hyp, ref in zip(hyps, refs, strict=True):
        spoken = of(ref.split())
        values.append(-distance(spoken, of(hyp.split())) / len(spoken) if spoken else None)
    return values


def expected_error_rate(
    hyps: Sequence[str], places: Sequence[int], truths: Sequence[Sequence[tuple[str, float]]], of: Units = list
) -> list[Reward]:
    """Minus the errors to be expected where the truth is not known (minimum Bayes risk; Goel and Byrne 2000, "Minimum Bayes-risk automatic
    speech recognition"), as a share of the units to be expected; None where none are.

    Args:
        places: which recording each hypothesis is of.
        truths: for each recording what may have been said, with probabilities that sum to one.
        of: turns tokens into units; see `units`.
    """
    spoken = [[(of(text.split()), p) for text, p in truth] for truth in truths]
    sizes = [sum(p * len(ref) for ref, p in refs) for refs in spoken]
    values: list[Reward] = []
    for hyp, i in zip(hyps, places, strict=True):
        said = of(hyp.split())
        values.append(-sum(p * distance(ref, said) for ref, p in spoken[i]) / sizes[i] if sizes[i] else None)
    return values


def cider(hyps: Sequence[str], clips: Sequence[str], judge: CiderD) -> list[Reward]:
    """CIDEr-D of captions against all that people wrote of the clip; None for a clip that `judge` has no references of.

    Document frequencies are those of `judge`: of the training references, when it judges training clips (Rennie et al. 2017).
    """
    known = [i for i, clip in enumerate(clips) if clip in judge.references]
    found = iter(judge([hyps[i] for i in known], [clips[i] for i in known]))
    values: list[Reward] = [None] * len(hyps)
    for i in known:
        values[i] = next(found)
    return values


def text_prior(hyps: Sequence[str], prior: NGram) -> list[Reward]:
    """Log-probability of each text per token, its end included; an empty text says nothing and is not judged."""
    texts = [hyp.split() for hyp in hyps]
    return [logp / (1 + len(text)) if text else None for logp, text in zip(prior.logps(texts).tolist(), texts, strict=True)]


def reconstruction(batch: Batch, places: Sequence[int], hyps: Sequence[str], tts: Synthesizer, aligner: FrameCTC) -> list[Reward]:
    """Round-trip agreement of a recording: how well the synthesiser explains it by a text, under the text's own alignment.

    Args:
        batch: recordings with f0.
        places: which recording of the batch each text is for.

    Returns:
        `Synthesizer.score`; None for an empty text, and where the recording is too short for the text.
    """
    assert batch.speech is not None and batch.f0 is not None
    values: list[Reward] = [None] * len(hyps)
    spoken = [j for j, hyp in enumerate(hyps) if hyp]
    if not spoken:
        return values
    judged, fits = aligned(batch, [places[j] for j in spoken], [hyps[j] for j in spoken], aligner)
    if judged is None:
        return values
    long_enough = [j for j, fit in zip(spoken, fits, strict=True) if fit]
    for j, score in zip(long_enough, tts.score(judged).tolist(), strict=True):
        values[j] = score if math.isfinite(score) else None
    return values


def aligned(batch: Batch, places: Sequence[int], texts: Sequence[str], aligner: FrameCTC) -> tuple[Batch | None, list[bool]]:
    """Recordings with other texts, each under its own alignment.

    Args:
        places: which recording of the batch each text is for.

    Returns:
        a batch of those texts that fit into their recordings (None if none does), and for each text whether it does.
    """
    assert batch.speech is not None and batch.f0 is not None
    speech, f0 = batch.speech.rows(places), batch.f0[send(places, batch.f0.device)]
    durations, logp = aligner.align(speech, texts)
    fits = [value > UNALIGNED for value in logp.tolist()]
    keep = [j for j, fit in enumerate(fits) if fit]
    if not keep:
        return None, fits
    if len(keep) < len(texts):
        row = send(keep, f0.device)
        speech, f0, durations = speech.rows(keep), f0[row], durations[row]
    index, kept = [places[j] for j in keep], [texts[j] for j in keep]
    durations = durations[:, : 1 + max(len(text.split()) for text in kept)]
    return Batch([batch.utt_ids[i] for i in index], [batch.spks[i] for i in index], kept, speech, f0, durations), fits


def heard(speech: Speech, texts: Sequence[str], asr: Recognizer, of: Units = list) -> list[Reward]:
    """Round-trip agreement of a rendering: minus the error rate of what the recogniser hears (greedy)."""
    hyps = first_texts(asr.transcribe(speech, Search("ctc_greedy")))
    return error_rate(hyps, texts, of)


def heard_logp(speech: Speech, texts: Sequence[str], asr: Recognizer) -> list[Reward]:
    """The recogniser's log-probability of what a rendering should say, per token; finer than errors. None where the text does not fit."""
    with torch.no_grad():
        logp = asr.logp(speech, [[text] for text in texts])[:, 0].tolist()
    return [value / len(text.split()) if text and value > UNFIT else None for value, text in zip(logp, texts, strict=True)]


def speaker_similarity(speech: Speech, references: Speech) -> list[Reward]:
    """Cosine of the long-term spectra of each rendering and a recording of the same speaker; None for no frames."""
    similarity = torch.cosine_similarity(long_term_spectrum(speech), long_term_spectrum(references), dim=-1)
    full = (speech.lengths > 1) & (references.lengths > 1)
    return [value if known else None for value, known in zip(similarity.tolist(), full.tolist(), strict=True)]


def mixture(weighted: Sequence[tuple[float, Sequence[Reward]]]) -> list[Reward]:
    """The weighted sum; None where any part cannot judge."""
    columns = list(zip(*(values for _, values in weighted), strict=True))
    weights = [weight for weight, _ in weighted]
    return [None if None in column else sum(w * v for w, v in zip(weights, column, strict=True)) for column in columns]  # type: ignore[operator]


def named(rewards: Mapping[str, float], known: Sequence[str], where: str) -> dict[str, float]:
    """The rewards of a recipe with their weights, those of weight 0 left out.

    Raises:
        UserError: a reward that does not exist, or none at all.
    """
    for name in rewards:
        if name not in known:
            raise UserError(f"no reward {name!r}", where, f"choose among: {', '.join(known)}")
    kept = {name: float(weight) for name, weight in rewards.items() if weight}
    if not kept:
        raise UserError("no reward has a weight", where, f"give one to: {', '.join(known)}")
    return kept


def table(rows: Sequence[Sequence[Reward]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rewards of lists that may differ in length.

    Returns:
        (B, N) rewards, 0 where there is none, and (B, N) true where there is one.
    """
    width = max((len(row) for row in rows), default=0)
    filled = [[*row, *[None] * (width - len(row))] for row in rows]
    values = send([[v if v is not None else 0.0 for v in row] for row in filled], device, torch.float32)
    valid = send([[v is not None for v in row] for row in filled], device, torch.bool)
    return values.view(len(rows), width), valid.view(len(rows), width)
