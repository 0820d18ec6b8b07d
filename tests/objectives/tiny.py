"""Tiny real models for objectives: a pair in training, and what a round starts from."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from cycle.data.batch import Batch
from cycle.data.types import Speech
from cycle.models.ngram import NGram
from cycle.models.noise import frozen
from cycle.objectives.base import Models
from tests.models.test_espnet import TEXTS, batch, recognizer, synthesizer
from tests.test_rewards import aligner

TACOTRON = {"tts": "tacotron2", "tts_conf": {"embed_dim": 8, "elayers": 1, "eunits": 8, "econv_chans": 8, "dlayers": 1, "dunits": 16,
            "prenet_units": 8, "postnet_layers": 1, "postnet_chans": 8, "adim": 8, "aconv_chans": 4}}  # fmt: skip


def tacotron():
    from cycle.models.espnet_tts import EspnetSynthesizer
    from cycle.models.vocabulary import Vocabulary
    from cycle.models.voices import Voices

    torch.manual_seed(0)
    model = EspnetSynthesizer(Vocabulary.of(TEXTS), Voices(("s1", "s2"), (5.0, 0.3), (0.0, 1.0), np.eye(2)), 80, TACOTRON)
    torch.nn.init.constant_(model.tts.dec.prob_out.bias, -5.0)  # an untrained one stops at once; this one at ten frames a token
    return model


def pair(tts=synthesizer) -> Models:
    """Both in training mode, as the trainer has them."""
    return Models(talkative().train(), tts().train())


def talkative():
    """A recogniser that, untrained, still says something: neither blank nor the sentence end is a favourite."""
    model = recognizer()
    with torch.no_grad():
        model.model.ctc.ctc_lo.bias[0] -= 0.5
        model.model.decoder.output_layer.bias[model.model.eos] -= 1.0
    return model


def origin(tts=synthesizer) -> SimpleNamespace:
    """A stand-in for `Origin` with the pair's first weights."""
    prior = NGram.fit([t.split() for t in TEXTS], order=2)
    models = {"asr": talkative().eval().requires_grad_(False), "tts": tts().eval().requires_grad_(False), "aligner": aligner()}
    return SimpleNamespace(**models, prior=prior, language="cmn", models=frozenset(models.keys() - {"aligner"}), updates=100)


def started(objective, tts=synthesizer):
    if hasattr(objective, "begin"):
        objective.begin(origin(tts))
    return objective


def with_lists() -> Batch:
    data = batch()
    data.nbest = [[("a b c", -0.3), ("a b", -0.9)], [("b a", -0.2), ("b", -0.4), ("a", -0.8)], [("c c a b a", -0.1), ("c", -0.5)]]
    return data


def subset(data: Batch, index: list[int]) -> Batch:
    """Some utterances, without the padding that only the others needed."""
    frames, tokens = max(int(data.speech.lengths[i]) for i in index), 1 + max(len(data.texts[i].split()) for i in index)
    return replace(
        data,
        utt_ids=[data.utt_ids[i] for i in index],
        spks=[data.spks[i] for i in index],
        texts=[data.texts[i] for i in index],
        speech=Speech(data.speech.feats[index, :frames], data.speech.lengths[index]),
        f0=data.f0[index, :frames],
        durations=data.durations[index, :tokens],
        nbest=[data.nbest[i] for i in index] if data.nbest else [],
    )


def moved(objective, models: Models, data: Batch, tries: int = 20) -> set[str]:
    """The models that get a gradient when the trainer freezes those that the objective does not train."""
    with frozen(p for name in {"asr", "tts"} - objective.trains for p in getattr(models, name).parameters()):
        for seed in range(tries):  # a draw may have nothing to learn from
            torch.manual_seed(seed)
            loss = objective(data, models, 0)
            if loss.weight:
                loss.value.backward()
                break
    found = {"asr": models.asr, "tts": models.tts}
    return {name for name, m in found.items() if any(p.grad is not None and p.grad.abs().sum() > 0 for p in m.parameters())}


def descent(objective, models: Models, data: Batch, steps: int, lr: float = 3e-3, seed: int | None = None) -> list[dict[str, float]]:
    """Trains as the trainer does, each step with its own seed (or always the same); returns what each step logged, with the loss."""
    params = [p for name in sorted(objective.trains) for p in getattr(models, name).parameters()]
    optimizer = torch.optim.Adam(params, lr=lr, eps=1e-5)  # with less, a gradient that is rounding alone moves a weight as far as any
    logged = []
    for step in range(steps):
        torch.manual_seed(step if seed is None else seed)
        optimizer.zero_grad()
        loss = objective(data, models, step)
        if loss.weight:
            loss.value.backward()
            optimizer.step()
        logged.append({"loss": float(loss.value.detach()), **{k: float(v) for k, v in loss.stats.items()}})
    return logged
