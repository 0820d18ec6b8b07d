"""speech -> ASR -> pseudo-labels: N-best lists of the speech pool with every score that selection may want."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric

from cycle.config import Label as LabelConf
from cycle.config import Search
from cycle.data.batch import Batch, Hypothesis
from cycle.data.types import Speech
from cycle.exchange.evaluate import combined, decode, prior_scores
from cycle.exchange.pools import UNALIGNED, sweep
from cycle.files import read_jsonl, write_jsonl
from cycle.models.frame_ctc import FrameCTC
from cycle.models.ngram import NGram
from cycle.models.recognizer import Recognizer
from cycle.models.synthesizer import Synthesizer
from cycle.train.streams import Stream

log = logging.getLogger("cycle")
SHARD = 2048  # utterances


@dataclass(frozen=True)
class Label:
    """One utterance of the speech pool as the recogniser hears it.

    Attributes:
        text: the chosen hypothesis.
        frames: length of the recording.
        logp: its log-probability given the speech, all paths.
        posterior: its share of the N-best list's probability, prior included.
        nbest: hypotheses, best first.
        tts: the synthesiser's score of the first few of them, None where it cannot judge.
    """

    utt: str
    text: str
    frames: int
    logp: float
    prior: float
    posterior: float
    nbest: list[str]
    tts: list[float | None]

    @property
    def tokens(self) -> int:
        return len(self.text.split())


def label_pool(
    folder: Path, stream: Stream, asr: Recognizer, prior: NGram, search: Search, conf: LabelConf, fabric: Fabric,
    tts: Synthesizer | None, aligner: FrameCTC,
) -> list[Label]:  # fmt: skip
    """Labels a pool shard by shard; shards that an earlier call finished are read back.

    Args:
        tts: scores the first `conf.judged` hypotheses; None leaves that out.
    """
    labels: list[Label] = []
    for number, start in enumerate(range(0, len(stream), SHARD)):
        file = folder / f"{number:05d}.jsonl"
        if not file.exists():
            part = stream.subset(range(start, min(start + SHARD, len(stream))))
            write_jsonl(file, (vars(row) for row in _label(part, asr, prior, search, conf, fabric, tts, aligner)))
        labels += [Label(**row) for row in read_jsonl(file)]
    return labels


def _label(
    stream: Stream,
    asr: Recognizer,
    prior: NGram,
    search: Search,
    conf: LabelConf,
    fabric: Fabric,
    tts: Synthesizer | None,
    aligner: FrameCTC,
) -> list[Label]:
    lists = decode(asr, stream, search, conf.batch_frames, fabric, "labelling the speech pool")
    rows = []
    for utt, frames, hyps, priors in zip(stream.utt_ids, stream.frames, lists, prior_scores(lists, prior), strict=True):
        rows.append(choose(utt, int(frames), hyps, priors, search))
    if tts is None or conf.judged == 0:
        return rows
    return judge(rows, stream, tts, aligner, conf, fabric)


def choose(utt: str, frames: int, hyps: list[Hypothesis], priors: list[float], search: Search) -> Label:
    """Ranks an N-best list by acoustics and prior together."""
    ranked = sorted(((combined(h, p, search), h, p) for h, p in zip(hyps, priors, strict=True)), key=lambda s: -s[0])
    if not ranked:
        return Label(utt, "", frames, -math.inf, 0.0, 0.0, [], [])
    top = ranked[0][0]
    share = 1.0 / sum(math.exp(score - top) for score, _, _ in ranked)
    best = ranked[0][1]
    return Label(utt, best.text, frames, best.logp, ranked[0][2], share, [h.text for _, h, _ in ranked], [])


def judge(rows: list[Label], stream: Stream, tts: Synthesizer, aligner: FrameCTC, conf: LabelConf, fabric: Fabric) -> list[Label]:
    """Lets the synthesiser score the first hypotheses of each utterance, each under its own alignment."""
    scores: list[list[float | None]] = [[None] * min(conf.judged, len(r.nbest)) for r in rows]
    for group, batch in sweep(stream, max(1, conf.batch_frames // max(1, conf.judged)), fabric.device, "judging the labels"):
        pairs = [(k, n) for k, i in enumerate(group) for n in range(len(scores[i])) if rows[i].nbest[n]]
        if not pairs:
            continue
        texts = [rows[group[k]].nbest[n] for k, n in pairs]
        values = score_texts(batch, [k for k, _ in pairs], texts, tts, aligner)
        for (k, n), value in zip(pairs, values, strict=True):
            scores[group[k]][n] = value
    return [Label(**{**vars(row), "tts": score}) for row, score in zip(rows, scores, strict=True)]


def score_texts(batch: Batch, places: list[int], texts: list[str], tts: Synthesizer, aligner: FrameCTC) -> list[float | None]:
    """The synthesiser's score of `texts[j]` for utterance `places[j]`; None where the recording is too short for the text."""
    assert batch.speech is not None and batch.f0 is not None
    index = torch.tensor(places, device=batch.speech.feats.device)
    speech = Speech(batch.speech.feats[index], batch.speech.lengths[index])
    durations, logp = aligner.align(speech, texts)
    spks = [batch.spks[k] for k in places]
    values = tts.score(Batch([batch.utt_ids[k] for k in places], spks, texts, speech, batch.f0[index], durations))
    return [v if a > UNALIGNED and math.isfinite(v) else None for v, a in zip(values.tolist(), logp.tolist(), strict=True)]
