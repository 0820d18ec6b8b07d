"""speech -> ASR -> pseudo-labels: N-best lists of the speech pool with every score that selection may want."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from cycle.data import table
from cycle.data.batch import Batch, Hypothesis
from cycle.data.schemas import LABEL
from cycle.exchange.engine import SHARD, Write
from cycle.exchange.evaluate import decode
from cycle.exchange.pools import open_pool
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.models.frame_ctc import FrameCTC
from cycle.models.fusion import Prior, combined, posteriors, scores
from cycle.models.ngram import NGram
from cycle.models.pair import open_aligner, open_asr, open_tts
from cycle.models.recognizer import Recognizer
from cycle.models.synthesizer import Synthesizer
from cycle.rewards import reconstruction
from cycle.settings import Search
from cycle.train.streams import Stream


@dataclass(frozen=True)
class Label:
    """A row of `schemas.LABEL`, whose columns are told there."""

    utt: str
    text: str
    frames: int
    tokens: int
    logp: float
    prior: float
    posterior: float
    nbest: list[str]
    posteriors: list[float]
    tts: list[float | None]


@dataclass(frozen=True)
class LabelJob:
    """The speech pool through the models of `start`, into `folder`.

    Attributes:
        search: of the recogniser, tuned already.
        judge: whether the synthesiser scores the first hypotheses.
    """

    exp: Experiment
    start: Path
    folder: Path
    search: Search
    judge: bool
    title: str = "labelling the speech pool"

    def shards(self) -> int:
        return math.ceil(len(open_pool(self.exp, "speech")) / SHARD)

    def file(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.arrow"

    def done(self, shard: int) -> bool:
        return self.file(shard).exists()

    def labels(self) -> table.Table:
        """What there is, in the order of the pool."""
        return table.Table(sorted(self.folder.glob("[0-9]*.arrow")), LABEL)

    def open(self, fabric: Fabric) -> Callable[[int], Write]:
        exp, pool = self.exp, open_pool(self.exp, "speech")
        asr, prior = open_asr(exp, self.start, fabric.device), NGram.load(exp.prior)
        conf = exp.config.rounds.label
        judges = self._judges(fabric) if self.judge else None

        def work(shard: int) -> Write:
            part = pool.subset(range(shard * SHARD, min((shard + 1) * SHARD, len(pool))))
            rows = transcribe(part, asr, prior, self.search, conf.batch_frames, fabric)
            if judges is not None:
                rows = judge(rows, part, *judges, conf.judged, conf.batch_frames, fabric)
            return lambda: table.write(self.file(shard), map(_row, rows), LABEL)

        return work

    def _judges(self, fabric: Fabric) -> tuple[Synthesizer, FrameCTC]:
        return open_tts(self.exp, self.start, fabric.device), open_aligner(self.exp, fabric.device)


def _row(label: Label) -> dict[str, Any]:
    return vars(label) | {"judged": sum(bool(text) and score is not None for text, score in zip(label.nbest, label.tts, strict=False))}


def transcribe(stream: Stream, asr: Recognizer, prior: NGram, search: Search, budget: int, fabric: Fabric) -> list[Label]:
    """Labels a stream."""
    lists = decode(asr, stream, search, budget, fabric, "labelling the speech pool")
    return choose(stream.utt_ids, stream.frames.tolist(), lists, prior, search)


def choose(utts: Iterable[str], frames: Sequence[int], lists: Sequence[list[Hypothesis]], prior: Prior, search: Search) -> list[Label]:
    """Ranks N-best lists by acoustics and prior together."""
    known = scores(lists, prior)
    totals = combined(known, search)
    order = np.argsort(-totals, axis=1, kind="stable")
    shares = np.take_along_axis(posteriors(totals), order, axis=1)
    best = known[np.arange(len(order)), order[:, 0]]  # log-probability, prior, tokens
    labels = []
    for utt, length, hyps, ranks, posterior, (logp, text_logp, tokens) in zip(
        utts, frames, lists, order.tolist(), shares.tolist(), best.tolist(), strict=True
    ):
        texts, n = [hyps[k].text for k in ranks[: len(hyps)]], len(hyps)
        text = texts[0] if texts else ""
        labels.append(Label(utt, text, length, int(tokens), logp, text_logp, posterior[0], texts, posterior[:n], []))
    return labels


def judge(rows: list[Label], stream: Stream, tts: Synthesizer, aligner: FrameCTC, judged: int, budget: int, fabric: Fabric) -> list[Label]:
    """Lets the synthesiser score the first hypotheses of each utterance, each under its own alignment."""

    def work(group: list[int], batch: Batch) -> list[list[float | None]]:
        pairs = [(k, text) for k, i in enumerate(group) for text in rows[i].nbest[:judged]]
        values = iter(reconstruction(batch, [k for k, _ in pairs], [text for _, text in pairs], tts, aligner))
        return [[next(values) for _ in rows[i].nbest[:judged]] for i in group]

    scores = sweep(stream, max(1, budget // max(1, judged)), fabric.device, "judging the labels", work, pitch=True)
    return [Label(**{**vars(row), "tts": score}) for row, score in zip(rows, scores, strict=True)]


class Lists(Sequence[list[tuple[str, float]]]):
    """For each label its hypotheses that have a score, with it; read from the table when asked for.

    Args:
        scores: the column of scores: tts, or posteriors.
    """

    def __init__(self, labels: table.Table, scores: str):
        self._nbest, self._scores = labels.column("nbest"), labels.column(scores)

    def __len__(self) -> int:
        return len(self._nbest)

    @overload
    def __getitem__(self, key: int) -> list[tuple[str, float]]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | table.Index) -> Lists: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            pairs = zip(self._nbest[int(key)], self._scores[int(key)], strict=False)
            return [(text, score) for text, score in pairs if score is not None]
        view = Lists.__new__(Lists)
        view._nbest, view._scores = table.Column.picked((self._nbest, self._scores), key)
        return view
