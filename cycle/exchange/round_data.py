"""All data of a round: the pair's outputs on the pools, selected, aligned, and ready to train on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric
from numpy.typing import NDArray

from cycle.data.table import Table, sample
from cycle.eval.errors import error_rate
from cycle.eval.oracle import label_quality, true_texts
from cycle.exchange.cluster import Cluster
from cycle.exchange.engine import run
from cycle.exchange.evaluate import label_search
from cycle.exchange.label import LabelJob, Rewarded
from cycle.exchange.pools import align, described, open_pool, with_texts
from cycle.exchange.select import LABEL_RULES, SYNTHETIC_RULES, Selection, select
from cycle.exchange.speak import SpeakJob
from cycle.exchange.voices import voices
from cycle.experiment import Experiment
from cycle.files import read_json, write_tsv
from cycle.models.frame_ctc import FrameCTC
from cycle.models.pair import load_asr, load_frame_model
from cycle.models.vocabulary import Vocabulary
from cycle.train.streams import Stream

log = logging.getLogger("cycle")


@dataclass
class RoundData:
    """Streams by name, and what was watched while making them."""

    streams: dict[str, Stream] = field(default_factory=dict)
    monitors: dict[str, Any] = field(default_factory=dict)


def wanted_streams(exp: Experiment, number: int) -> set[str]:
    """The streams that any objective with a weight draws on in a round."""
    return {stream for conf in exp.config.rounds.objectives.values() for stream in conf.shares(number)}


def exchange(exp: Experiment, number: int, start: Path, work: Path, fabric: Fabric, cluster: Cluster | None = None) -> RoundData:
    """Makes the streams that the recipe wants with the models of `start`; work that an earlier call finished is read back."""
    wanted, out = wanted_streams(exp, number), RoundData()
    if "tts" not in exp.config.models:
        return _heard_only(exp, number, wanted)
    vocabulary = Vocabulary.read(exp.tokens / "tokens.txt")
    aligner = load_frame_model(exp.aligner, exp.config.aligner, exp.config, vocabulary, fabric.device)
    out.streams["paired"] = _aligned(exp, open_pool(exp, "paired"), aligner, fabric)[0]
    if "recordings" in wanted:  # the speech pool as it is, for objectives that make their own transcripts
        out.streams["recordings"] = replace(open_pool(exp, "speech"), name="recordings")
    if wanted & {"pseudo", "speech"}:
        _speech_side(exp, number, start, work, aligner, out, fabric, cluster)
    if wanted & {"synthetic", "text"}:
        _text_side(exp, number, start, work, out, fabric, cluster)
    log.info("round %d: %s", number, ", ".join(f"{len(s)} {name}" for name, s in sorted(out.streams.items())))
    return out


def _heard_only(exp: Experiment, number: int, wanted: set[str]) -> RoundData:
    """What there is without a synthesiser: the paired pool, and recordings without text. Nothing is exchanged."""
    out = RoundData({"paired": described(exp, "paired")})
    if "recordings" in wanted:
        out.streams["recordings"] = replace(open_pool(exp, "speech"), name="recordings")
    log.info("round %d: %s", number, ", ".join(f"{len(s)} {name}" for name, s in sorted(out.streams.items())))
    return out


def _aligned(exp: Experiment, stream: Stream, aligner: FrameCTC, fabric: Fabric) -> tuple[Stream, NDArray[np.bool_]]:
    return align(stream, aligner, exp.config.rounds.label.batch_frames, fabric.device)


def _speech_side(
    exp: Experiment, number: int, start: Path, work: Path, aligner: FrameCTC, out: RoundData, fabric: Fabric, cluster: Cluster | None
) -> None:
    """speech -> ASR: labels, selection, durations."""
    conf, pool = exp.config.rounds, open_pool(exp, "speech")
    if conf.label.source == "oracle":
        out.streams["pseudo"], _ = _aligned(exp, with_texts(pool, "pseudo", true_texts(exp)), aligner, fabric)
        return
    search = label_search(exp, load_asr(start, exp.config, fabric.device), fabric)
    job = LabelJob(exp, start, work / "labels", search, judge=conf.label.judged > 0)
    run(job, fabric, cluster)
    labels = job.labels()
    chosen = select(labels, conf.select_labels, LABEL_RULES, number, _context(exp, len(labels)))
    kept = pool.subset(chosen.kept)
    kept.name, kept.texts = "pseudo", labels.subset(chosen.kept).column("text")
    out.streams["pseudo"], lost = _aligned(exp, kept, aligner, fabric)
    chosen.drop(lost, "too short for its tokens")
    _write_selection(work, "labels", labels, chosen, ("utt", "text", "logp", "posterior"))
    out.streams["speech"] = _judged(pool, labels)
    out.monitors |= label_quality(exp, labels, chosen.kept)
    out.monitors |= {"prior_weight": search.prior_weight, "prior_length": search.prior_length}
    out.monitors["empty_labels"] = float(np.mean(labels.numbers("tokens") == 0))
    heard = {token for text in labels.subset(sample(len(labels))).column("text") for token in text.split()}
    out.monitors["vocabulary"] = len(heard) / max(1, len(_context(exp, 0)["paired_tokens"]))


def _context(exp: Experiment, pool: int) -> dict[str, Any]:
    """What selection rules may know: nothing but the paired pool and the size of the speech pool."""
    paired = {t for text in open_pool(exp, "paired").texts for t in text.split()}
    return {"pool": pool, "paired_tokens": paired, "frames_per_token": read_json(exp.tokens / "stats.json")["frames_per_token"]}


def _judged(pool: Stream, labels: Table) -> Stream:
    """The utterances of which the synthesiser judged at least two hypotheses."""
    nbest = Rewarded(labels)
    keep = np.flatnonzero(labels.numbers("judged") > 1)
    stream = pool.subset(keep)
    stream.name, stream.nbest = "speech", nbest[keep]
    return stream


def _text_side(exp: Experiment, number: int, start: Path, work: Path, out: RoundData, fabric: Fabric, cluster: Cluster | None) -> None:
    """text -> TTS: synthetic speech, heard by the recogniser, selected."""
    job = SpeakJob(exp, number, start, work / "synthetic")
    out.streams["text"] = job.texts()
    if "synthetic" not in wanted_streams(exp, number):
        return
    run(job, fabric, cluster)
    spoken = job.spoken()
    assert spoken.store is not None
    table = spoken.store.table
    chosen = select(table, exp.config.rounds.select_synthetic, SYNTHETIC_RULES, number, {})
    out.streams["synthetic"] = spoken.subset(chosen.kept)
    _write_selection(work, "synthetic", table, chosen, ("utt", "text", "heard", "spk"))
    rhythm, tone = table.numbers("duration_std"), table.numbers("pitch_std")
    sound = table.numbers("finite").astype(np.bool_) & np.isfinite(rhythm)  # an autoregressive synthesiser has no durations
    if sound.any():
        out.monitors |= {"tts_duration_std": float(rhythm[sound].mean()), "tts_pitch_std": float(tone[sound].mean())}
    lending = [open_pool(exp, pool) for pool in exp.config.rounds.speak.speakers]
    out.monitors |= voices(lending, out.streams["synthetic"], exp.config.rounds.speak.batch_frames, fabric.device)
    some = table.subset(sample(len(table)))
    out.monitors |= {
        "synthetic_error": error_rate([t.split() for t in some.column("text")], [h.split() for h in some.column("heard")]),
        "synthetic_kept": len(chosen.kept) / max(1, len(table)),
    }


def _write_selection(work: Path, name: str, items: Table, chosen: Selection, columns: tuple[str, ...]) -> None:
    """What was kept, and what was not with the reason, as tables to read."""
    values = [items.column(c) for c in columns]
    write_tsv(work / "selection" / f"{name}_kept.tsv", columns, (tuple(v[i] for v in values) for i in memoryview(chosen.kept)))
    rows = ((values[0][i], reason, *(v[i] for v in values[1:])) for i, reason in chosen.rejected())
    write_tsv(work / "selection" / f"{name}_rejected.tsv", (columns[0], "reason", *columns[1:]), rows)
