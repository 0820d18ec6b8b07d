"""The exchange both ways: a pool through stock ESPnet and through ours, the same models, utterances and cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from cycle.bench import Row, with_ratios
from cycle.bench.floor import Ceiling, ceiling, counted, timed
from cycle.data.batch import Batch, first_texts, speech_of
from cycle.device import Later, fabric, fetch
from cycle.eval.errors import error_rate
from cycle.exchange.engine import SHARD
from cycle.exchange.evaluate import decode
from cycle.exchange.pools import known_speakers, open_pool
from cycle.exchange.speak import draw_speakers
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.log import log
from cycle.models import stock
from cycle.models.pair import load_asr, load_tts, read_voices
from cycle.settings import Search
from cycle.train.streams import Stream


def measure(exp: Experiment, utterances: int) -> Iterator[tuple[str, Any]]:
    """The exchange of `utterances` of the test pool both ways, with the error rates of what came out; and ours of a whole shard.

    Yields:
        as they are found: what is measured; `asr` and `tts`, each with `ratio` (speed of ours, as used in rounds, over that of stock one by
        one) and all rows; speeds in times real time, `floor` and `traffic` see `Ceiling.row`.
    """
    test = open_pool(exp, "test")
    test = test.subset(range(min(utterances, len(test))))
    seconds = _seconds(exp, test)
    top = ceiling(exp.device, exp.config.precision)
    log.info("%d utterances, %.0f s", len(test), seconds)
    yield from {"utterances": len(test), "seconds_of_speech": seconds, "device": exp.device, "threads": torch.get_num_threads()}.items()
    yield "asr", _asr(exp, test, seconds, top)
    yield "tts", _tts(exp, test, top)


def _seconds(exp: Experiment, stream: Stream) -> float:
    return float(stream.frames.sum()) * exp.config.features.hop / exp.config.features.fs


def _shard(exp: Experiment, pool: str) -> Stream:
    """As much of a pool as one shard holds: a batch has its full size only there."""
    stream = open_pool(exp, pool)
    return stream.subset(range(min(SHARD, len(stream))))


def _asr(exp: Experiment, test: Stream, seconds: float, top: Ceiling) -> dict[str, Any]:
    runner = fabric(exp.device, exp.config.precision)
    asr, theirs = load_asr(exp.round(0), exp.config, runner.device), stock.speech2text(exp.round(0), exp.device)
    assert test.store is not None
    mels = [test.store.feats(row).astype("float32") for row in test.rows]
    used = replace(exp.config.rounds.label.search, tune=False)
    equal = Search("joint", beam=stock.BEAM, ctc_weight=stock.CTC_WEIGHT)

    def ours(search: Search, stream: Stream = test) -> list[str]:
        lists = decode(asr, stream, search, exp.config.rounds.label.batch_frames, runner, "bench")
        return first_texts(lists)

    works: dict[str, tuple[Callable[[], list[str]], int]] = {
        "stock Speech2Text, one by one, beam 10": (lambda: stock.transcribe_each(theirs, mels), 1),
        "stock batch_decode, beam 10": (lambda: stock.transcribe_batch(theirs, mels), 1),
        "ours, the same search in batches": (lambda: ours(equal), 1),
        f"ours, as in rounds: {used.method} {used.beam}, {used.nbest}-best": (lambda: ours(used), 3),
        "ours, ctc_greedy": (lambda: ours(Search("ctc_greedy")), 3),
    }
    stock.transcribe_each(theirs, mels[:1])  # what happens once is nobody's speed
    ours(equal)
    refs, rows = [text.split() for text in test.texts], dict[str, Row]()
    for name, (work, repeat) in works.items():
        took, hyps = timed(work, exp.device, repeat)
        rows[name] = {"seconds": took, "speed": seconds / took, "error": error_rate(refs, [hyp.split() for hyp in hyps])}
        log.info("%s: %.2f s", name, took)
        if repeat > 1:
            rows[name] |= top.row(counted(work))
    shard = _shard(exp, "speech")
    took, _ = timed(lambda: ours(used, shard), exp.device, 2)
    rows[f"ours, as in rounds: {len(shard)} of the speech pool"] = {"seconds": took, "speed": _seconds(exp, shard) / took}
    return with_ratios(rows, list(works)[3], list(works)[2])


def _tts(exp: Experiment, test: Stream, top: Ceiling) -> dict[str, Any]:
    runner, voices = fabric(exp.device, exp.config.precision), read_voices(exp)
    tts, theirs = load_tts(exp.round(0), exp.config, voices, runner.device), stock.synthesize_each(exp.round(0), exp.device)
    asr = load_asr(exp.round(0), exp.config, runner.device)
    speakers = known_speakers(open_pool(exp, "paired"))

    def said(stream: Stream) -> Stream:
        return Stream("text", stream.utt_ids, draw_speakers(stream, speakers, exp.config.seed), stream.texts)

    texts, shard = said(test), said(_shard(exp, "text"))
    vectors = None if voices.size is None else voices.embeddings(texts.spks, runner.device)

    def speak(group: list[int], batch: Batch) -> Later[list[torch.Tensor]]:
        with torch.no_grad(), runner.autocast():
            speech = tts.synthesize(batch.texts, batch.spks).speech
        coming = fetch(speech.feats.float(), speech.lengths)

        def rows() -> list[torch.Tensor]:
            feats, lengths = coming()
            return [row[:n] for row, n in zip(feats, lengths.tolist(), strict=True)]

        return rows

    def ours(stream: Stream = texts) -> list[torch.Tensor]:
        return sweep(stream, exp.config.rounds.speak.batch_frames, runner.device, "bench", speak)

    theirs(test.texts[:1], vectors)
    ours()
    hop = exp.config.features.hop / exp.config.features.fs
    rows: dict[str, Row] = {}
    works = {"stock Text2Speech, one by one": lambda: theirs(test.texts, vectors), "ours, in batches, as in rounds": ours}
    for name, work in works.items():
        took, feats = timed(work, exp.device, 1 if "stock" in name else 3)
        log.info("%s: %.2f s", name, took)
        rows[name] = {"seconds": took, "speed": sum(map(len, feats)) * hop / took, "error": _heard(asr, feats, test, exp.device)}
    rows[name] |= top.row(counted(ours))
    took, feats = timed(lambda: ours(shard), exp.device, 2)
    rows[f"ours, as in rounds: {len(shard)} of the text pool"] = {"seconds": took, "speed": sum(map(len, feats)) * hop / took}
    return with_ratios(rows, list(works)[1], list(works)[1])


def _heard(asr: Any, feats: list[torch.Tensor], test: Stream, device: str) -> float:
    """Token error of the recogniser on synthetic speech: that batches say what single sentences say."""
    alone = (speech_of([row.cpu().numpy()]).to(torch.device(device)) for row in feats)
    heard = [first_texts(asr.transcribe(speech, Search("ctc_greedy")))[0] for speech in alone]
    return error_rate([text.split() for text in test.texts], [text.split() for text in heard])
