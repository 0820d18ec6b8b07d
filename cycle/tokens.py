"""Stage 2, `tokens`: the token list, features and pitch of every recording, their statistics, and the text-side prior."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from cycle.data import features, kaldi
from cycle.data.features import FeatureStore
from cycle.data.schemas import RECORDING
from cycle.data.table import write as write_table
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import write_json, write_tsv
from cycle.log import log, progress
from cycle.models.ngram import NGram
from cycle.models.vocabulary import Vocabulary

SPOKEN = ("paired", "speech", "dev", "test")


def main(exp: Experiment) -> None:
    """Writes `tokens/{tokens.txt,stats.json,prior.json}` and `feats/POOL/`."""
    texts = {pool: kaldi.read_tokens(exp.data(pool)) for pool in ("paired", "text")}
    described = kaldi.read_references(exp.data("paired")).values()
    known = [*texts["text"].values(), *(text for several in described for text in several)]
    vocabulary = Vocabulary.of(known)
    vocabulary.write(exp.vocabulary)
    tokens = vocabulary.tokens[2:-1]  # without those that no text holds
    log.info("%d tokens", len(tokens))
    if not any(texts[pool] for pool in exp.config.prior.pools):
        raise UserError(f"there is no text in {', '.join(exp.config.prior.pools)}", "prior.pools", "name a pool that holds some")
    with features.processes(exp.config.run.workers, exp.config.features) as workers:
        begun = {pool: _begin(exp, pool, workers) for pool in SPOKEN}  # all at once: a small pool leaves most cores idle
        prior = [text.split() for pool in exp.config.prior.pools for text in texts[pool].values()]
        NGram.fit(prior, exp.config.prior.order, tokens).save(exp.prior)
        bad = [(pool, utt, reason) for pool, work in begun.items() for utt, reason in _finish(exp, pool, *work)]
    if bad:
        write_tsv(exp.root / "feats" / "rejected.tsv", ("pool", "utt", "reason"), bad)
        log.warning("%d recordings could not be used: %s", len(bad), exp.root / "feats" / "rejected.tsv")
    write_table(exp.feats("text") / "00000.arrow", map(_row, texts["text"].items()), RECORDING)
    write_json(exp.tokens / "stats.json", statistics(exp))


def _row(item: tuple[str, str]) -> dict[str, object]:
    utt, text = item
    return {"utt": utt, "spk": "", "text": text, "frames": features.sounding(text)}


def _begin(exp: Experiment, pool: str, workers: ProcessPoolExecutor) -> tuple[Iterable[features.Rejected], int]:
    """Features of a pool, shard by shard as they come; and how many utterances that are."""
    texts = {} if pool == "speech" else kaldi.read_tokens(exp.data(pool))
    utterances = [(utt, texts.get(utt.utt_id, "")) for utt in kaldi.read(exp.data(pool))]
    return features.compute(exp.feats(pool), utterances, exp.config.features, workers, pitch="tts" in exp.config.models), len(utterances)


def _finish(exp: Experiment, pool: str, shards: Iterable[features.Rejected], count: int) -> features.Rejected:
    """Waits for a pool; what could not be used of it."""
    bad = [row for shard in progress(shards, count // features.SHARD + 1, f"features of {pool}") for row in shard]
    if count and len(bad) == count:
        raise UserError(f"no recording of the pool could be used ({bad[0][1]})", exp.data(pool) / "wav.scp")
    return bad


def statistics(exp: Experiment) -> dict[str, object]:
    """Pitch, energy and pace over the paired pool."""
    store = FeatureStore(exp.feats("paired"))
    f0 = np.concatenate([store.f0(i) for i in range(len(store))]).astype(np.float32)
    energy = np.concatenate([store.feats(i).astype(np.float32).mean(1) for i in range(len(store))])
    return {
        "f0": [float(f0.mean()), max(float(f0.std()), 1e-3)],
        "energy": [float(energy.mean()), max(float(energy.std()), 1e-3)],
        "frames_per_token": _pace(store),
    }


def _pace(store: FeatureStore) -> list[float]:
    """The 1st and 99th percentile of frames per token of the paired pool: what a plausible transcript looks like."""
    pace = [float(n) / len(text.split()) for text, n in zip(store.table.column("text"), store.frames, strict=True)]
    low, high = np.percentile(np.array(pace), [1, 99]).tolist()
    return [low, high]
