"""Decoding a set with known texts, and choosing what may be chosen on dev."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cycle.data.batch import Batch, Hypothesis
from cycle.data.text import spelling
from cycle.device import Later
from cycle.eval.cider import CiderD
from cycle.eval.errors import distance, error_rate
from cycle.exchange.pools import open_pool, references
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.models.fusion import Prior, chosen, combined, listing, scores
from cycle.models.ngram import NGram
from cycle.models.pair import open_asr
from cycle.models.recognizer import Recognizer
from cycle.settings import Search
from cycle.train.streams import Stream

PRIOR_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0)  # of a large text pool more than the recogniser's own
PRIOR_LENGTHS = (0.0, 0.5, 1.0, 2.0)


def decode(asr: Recognizer, stream: Stream, search: Search, budget: int, fabric: Fabric, title: str) -> list[list[Hypothesis]]:
    """N-best lists of a stream, in its order."""

    def work(group: list[int], batch: Batch) -> Later[list[list[Hypothesis]]]:
        assert batch.speech is not None
        with fabric.autocast():
            return asr.listen(batch.speech, search)

    return sweep(stream, budget, fabric.device, title, work)


def tune_prior(
    lists: Sequence[Sequence[Hypothesis]],
    prior: Prior,
    refs: Sequence[str],
    search: Search,
    value: Callable[[Sequence[str]], float] | None = None,
) -> Search:
    """The prior's weight and length reward that are best on a set with known texts (dev); the smallest of equal ones.

    Args:
        value: of transcripts, the higher the better; None: the fewest token errors.
    """
    known = scores(lists, prior)
    weights = [(w, n) for w, n in itertools.product(PRIOR_WEIGHTS, PRIOR_LENGTHS) if w or not n]
    grid = [replace(search, prior_weight=w, prior_length=n) for w, n in weights]
    best = [combined(known, each).argmax(1) for each in grid]
    if value:
        return grid[int(np.argmax([value([hyps[n].text if hyps else "" for hyps, n in zip(lists, k, strict=True)]) for k in best]))]
    errors = np.zeros(known.shape[:2], dtype=np.int64)
    for i, (hyps, ref) in enumerate(zip(lists, refs, strict=True)):
        errors[i, : len(hyps)] = [distance(ref.split(), hyp.text.split()) for hyp in hyps]
    return grid[int(np.argmin([errors[np.arange(len(lists)), k].sum() for k in best]))]


def tuned(exp: Experiment, asr: Recognizer, search: Search, prior: NGram, fabric: Fabric) -> Search:
    """A search with its prior tuned on dev, where the configuration asks for it."""
    if not search.tune:
        return search
    dev = open_pool(exp, "dev")
    lists = decode(
        asr, dev, replace(search, nbest=max(search.nbest, search.beam)), exp.config.rounds.label.batch_frames, fabric, "tuning on dev"
    )
    rises = spelling(exp.config.corpus.language).higher_is_better
    return tune_prior(lists, prior, dev.texts, search, figure(exp, dev) if rises else None)


def label_search(exp: Experiment, asr: Recognizer, fabric: Fabric) -> Search:
    """How a round that starts with this recogniser labels speech."""
    return tuned(exp, asr, exp.config.rounds.label.search, NGram.load(exp.prior), fabric)


def transcripts(
    asr: Recognizer, stream: Stream, search: Search, prior: NGram, budget: int, fabric: Fabric, title: str
) -> tuple[list[str], list[list[Hypothesis]]]:
    """The best hypothesis of each utterance, the prior included where the search gives it a weight; and the lists it was chosen from."""
    lists = decode(asr, stream, listing(search), budget, fabric, title)
    return chosen(lists, search, prior), lists


def unit_error(exp: Experiment, refs: Sequence[str], hyps: Sequence[str]) -> float:
    """Error rate in the corpus's unit (syllables, words)."""
    units = next(iter(spelling(exp.config.corpus.language).rates.values()))
    return error_rate([units(r.split()) for r in refs], [units(h.split()) for h in hyps])


def figure(exp: Experiment, stream: Stream) -> Callable[[Sequence[str]], float]:
    """What the corpus is judged by, of transcripts of a pool: an error rate, or CIDEr-D against all of each clip's texts."""
    if not spelling(exp.config.corpus.language).higher_is_better:
        return partial(unit_error, exp, stream.texts)
    texts = references(exp, stream.name)
    judge = CiderD({utt: texts[utt] for utt in stream.utt_ids})
    return lambda hyps: sum(judge(hyps, stream.utt_ids)) / len(hyps)


def hypotheses(exp: Experiment, folder: Path, stream: Stream, fabric: Fabric, title: str) -> list[str]:
    """What `folder/asr` makes of a stream, decoded as systems are."""
    asr, prior = open_asr(exp, folder, fabric.device), NGram.load(exp.prior)
    search = tuned(exp, asr, exp.config.decode, prior, fabric)
    return transcripts(asr, stream, search, prior, exp.config.rounds.label.batch_frames, fabric, title)[0]


def dev_figure(exp: Experiment, folder: Path, fabric: Fabric) -> dict[str, Any]:
    """How good `folder/asr` is on dev, and how many hypotheses are empty."""
    dev = open_pool(exp, "dev")
    hyps = hypotheses(exp, folder, dev, fabric, "decoding dev")
    tokens = error_rate([r.split() for r in dev.texts], [h.split() for h in hyps])
    return {"asr_dev": figure(exp, dev)(hyps), "asr_dev_tokens": tokens, "empty_share": hyps.count("") / len(hyps)}
