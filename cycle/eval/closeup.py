"""Asks the models of the rounds about a few utterances: attention, CTC posteriors, alignment, rhythm, and how they sound.

The only part of a report that opens models; always on the CPU, so that the numbers do not depend on where the report is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cycle.data import kaldi
from cycle.data.batch import speech_of
from cycle.data.features import FeatureStore
from cycle.data.schemas import RECORDING
from cycle.data.table import Table
from cycle.data.types import Utterance
from cycle.eval import samples
from cycle.eval.errors import distance
from cycle.eval.samples import Sample, View
from cycle.eval.story import Story, round_hypotheses
from cycle.experiment import Experiment
from cycle.files import digest
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.espnet_tts import EspnetSynthesizer
from cycle.models.fusion import chosen, listing
from cycle.models.ngram import NGram
from cycle.models.pair import load_aligner, load_asr, load_tts, read_voices
from cycle.settings import Search

VERSION = 1
ROUNDS = 4  # at most
LONGEST, SHORTEST = 8.0, 0.4  # seconds of a chosen recording
LOOKED_AT = 5000  # utterances of a pool that may be chosen
SENTENCE = 40  # tokens of a chosen sentence at most
CPU = torch.device("cpu")
GREEDY = Search("ctc_greedy")


def of(story: Story) -> list[Sample]:
    """The samples of an experiment, from disk where they were made from the same models and utterances."""
    exp, rounds = story.exp, shown(story)
    chosen = list(choose(story))
    if not rounds or not chosen:
        return []
    files = {p.relative_to(exp.root).as_posix(): digest([p]) for n in rounds for p in sorted(exp.round(n).glob("*/model.pth"))}
    key = {"version": VERSION, "models": files, "utterances": [[s.kind, s.utt, s.text, s.why] for s in chosen]}
    kept = story.attempt("Samples kept from an earlier report", samples.read, exp.samples, key)
    if kept is None:
        kept = ask(exp, rounds, chosen)
        samples.write(exp.samples, kept, key)
    return kept


def shown(story: Story) -> list[int]:
    """Pretraining, the best round, the last, and one between."""
    done = story.exp.rounds_done()
    wanted = dict.fromkeys([*done[:1], *([story.best] if story.best in done else []), *done[-1:], *done[len(done) // 2 :]])
    return sorted([n for n in wanted if n is not None][:ROUNDS])


def choose(story: Story) -> Iterator[Sample]:
    """Three test utterances (most repaired, most broken, unchanged), an unpaired recording, an unpaired sentence."""
    exp = story.exp
    test = {u.utt_id: u for u in kaldi.read(exp.data("test"))} if (exp.data("test") / "wav.scp").is_file() else {}
    fit = {utt: u for utt, u in test.items() if SHORTEST <= (u.seconds or LONGEST) <= LONGEST} or test
    for utt, why in _test(story, fit).items():
        yield Sample("test", utt, fit[utt].spk, why, fit[utt].text or "", wav=_path(fit[utt]))
    speech = kaldi.read(exp.data("speech"))[:LOOKED_AT] if (exp.data("speech") / "wav.scp").is_file() else []
    for u in sorted(speech, key=lambda u: (not 1.0 <= (u.seconds or 0) <= LONGEST, u.utt_id))[:1]:
        yield Sample("speech", u.utt_id, u.spk, "an unpaired recording", wav=_path(u))
    sentences = Table(sorted(exp.feats("text").glob("[0-9]*.arrow"))[:1], RECORDING)
    for row in list(sentences.subset(range(min(LOOKED_AT, len(sentences)))).rows()):
        if 4 <= len(row["text"].split()) <= SENTENCE:
            yield Sample("text", row["utt"], "", "an unpaired sentence", _writing(exp, row["utt"]), row["text"])
            return


def _path(utt: Utterance) -> str | None:
    return str(utt.wav) if utt.wav else None


def _writing(exp: Experiment, utt: str) -> str:
    """A sentence of the text pool as the corpus writes it."""
    file = exp.data("text") / "text"
    with open(file, encoding="utf-8") as lines:
        return next((line.rstrip("\n").partition(" ")[2] for line in lines if line.startswith(f"{utt} ")), "")


def _test(story: Story, fit: dict[str, Utterance]) -> dict[str, str]:
    """Test utterances to look at, with why: what changed most from pretraining to the best round (or the last, where none is better)."""
    rounds = shown(story)
    last = story.best if story.best in rounds and story.best else rounds[-1] if rounds else 0
    before, after = (_errors(story, number) for number in (0, last))
    change = {utt: after[utt] - before[utt] for utt in sorted(fit) if utt in before and utt in after}
    chosen: dict[str, str] = {}
    if change:
        best, worst = min(change, key=lambda u: (change[u], u)), min(change, key=lambda u: (-change[u], u))
        for utt, name, much in ((best, "repaired", change[best] < 0), (worst, "broken", change[worst] > 0)):
            if much:
                chosen[utt] = f"most {name} by round {last}: {before[utt]} errors before, {after[utt]} after"
    for utt in sorted(fit, key=lambda u: (abs(change.get(u, 0)), u)):
        if len(chosen) < 3 and utt not in chosen:
            chosen[utt] = "changed least" if change else "of the test pool"
    return chosen


def _errors(story: Story, number: int) -> dict[str, int]:
    """A round's errors by test utterance."""
    rows = round_hypotheses(story, number).values()
    return {row["utt"]: distance(story.units(row["ref"].split()), story.units(row["hyp"].split())) for row in rows}


def ask(exp: Experiment, rounds: list[int], chosen: list[Sample]) -> list[Sample]:
    """Fills the samples with what the models say."""
    chosen = [s for s in chosen if s.kind == "text" or _with_features(exp, s)]
    if (exp.aligner / "model.pth").is_file():
        aligner = load_aligner(exp, CPU)
        for s in chosen:
            if s.kind == "test" and s.feats is not None:
                s.rhythm = _array(aligner.align(speech_of([s.feats]), [s.tokens])[0][0])
    for number in rounds:
        asr, speaks = load_asr(exp.round(number), exp.config, CPU), (exp.round(number) / "tts/model.pth").is_file()
        tts = load_tts(exp.round(number), exp.config, read_voices(exp), CPU) if speaks else None
        for s in chosen:
            s.views.append(_view(s, number, asr, tts, exp))
    return chosen


def _with_features(exp: Experiment, sample: Sample) -> bool:
    """Fetches features and tokens; false for an utterance that stage 2 could not use."""
    store = FeatureStore(exp.feats("test" if sample.kind == "test" else "speech"))
    places = (i for i, utt in enumerate(store.table.column("utt")) if utt == sample.utt)
    place = next(places, None)
    if place is None:
        return False
    sample.feats = store.feats(place).astype(np.float32)
    sample.tokens = store.table.column("text")[place] or "" if sample.kind == "test" else ""
    return True


def _view(s: Sample, number: int, asr: EspnetRecognizer, tts: EspnetSynthesizer | None, exp: Experiment) -> View:
    view = View(number)
    if s.feats is not None:
        speech = speech_of([s.feats])
        search = exp.config.decode
        prior = NGram.load(exp.prior) if search.prior_weight else None
        view.hyp = chosen(asr.transcribe(speech, listing(search)), search, prior)[0]
        if s.tokens:
            _look(view, asr, s, exp)
    view.said = s.tokens or view.hyp
    if view.said and tts is not None:
        spk = s.spk if s.spk in tts.voices.speakers else tts.voices.speakers[0]
        feats, frames = tts.spoken(view.said, spk)
        view.spoken, view.durations = _array(feats), _array(frames)
        if s.feats is None:
            heard = asr.transcribe(speech_of([view.spoken]), GREEDY)[0]
            view.hyp = heard[0].text if heard else ""
    return view


def _look(view: View, asr: EspnetRecognizer, s: Sample, exp: Experiment) -> None:
    """Attention, posteriors of the text's tokens, forced alignment."""
    assert s.feats is not None
    logp, path, seen = asr.look(speech_of([s.feats]), s.tokens)
    view.labels = list(dict.fromkeys(s.tokens.split()))
    rows = [0, *(asr.vocabulary.ids(token)[0] for token in view.labels)]
    view.labels = ["(blank)", *view.labels]
    view.posteriors = _array(logp.exp()[:, rows].T)
    view.path = _array(path)
    view.attention = _array(seen) if seen is not None else None
    seconds = len(s.feats) * exp.config.features.hop / exp.config.features.fs
    view.second = len(logp) / seconds


def _array(values: Tensor) -> Any:
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float32)
