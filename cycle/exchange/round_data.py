"""All data of a round: the pair's outputs on the pools, selected, aligned, and ready to train on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cycle.data.table import Table, sample
from cycle.eval.errors import error_rate
from cycle.eval.oracle import label_quality, true_texts
from cycle.exchange.cluster import Cluster
from cycle.exchange.engine import run
from cycle.exchange.evaluate import label_search
from cycle.exchange.label import LabelJob, Lists
from cycle.exchange.pools import align, described, open_pool, with_texts
from cycle.exchange.select import LABEL_RULES, SYNTHETIC_RULES, Selection, select
from cycle.exchange.speak import SpeakJob
from cycle.exchange.voices import voices
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.files import read_json, write_tsv
from cycle.log import log
from cycle.models.frame_ctc import FrameCTC
from cycle.models.pair import open_aligner, open_asr
from cycle.train.streams import Stream


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
    side = _Exchange(exp, number, start, work, fabric, cluster)
    side.paired()
    if side.wanted & {"recordings", "labelled", "pseudo", "speech"} and len(side.pool):
        side.speech_side()
    if side.wanted & {"synthetic", "text"} and side.speaks:
        side.text_side()
    streams = side.out.streams
    log.info("round %d: %s", number, ", ".join(f"{len(s)} {name}" for name, s in sorted(streams.items())))
    return side.out


@dataclass
class _Exchange:
    """One exchange of a round. Without a synthesiser nothing is spoken, and there is nobody to ask which text a recording fits."""

    exp: Experiment
    number: int
    start: Path
    work: Path
    fabric: Fabric
    cluster: Cluster | None
    out: RoundData = field(default_factory=RoundData)

    def __post_init__(self) -> None:
        self.conf, self.speaks = self.exp.config.rounds, "tts" in self.exp.config.models
        self.wanted = wanted_streams(self.exp, self.number)
        self.pool = open_pool(self.exp, "speech")

    @cached_property
    def aligner(self) -> FrameCTC:
        return open_aligner(self.exp, self.fabric.device)

    def aligned(self, stream: Stream) -> tuple[Stream, NDArray[np.bool_]]:
        return align(stream, self.aligner, self.conf.label.batch_frames, self.fabric.device)

    def paired(self) -> None:
        self.out.streams["paired"] = self.aligned(open_pool(self.exp, "paired"))[0] if self.speaks else described(self.exp, "paired")

    def speech_side(self) -> None:
        """Recordings as they are; speech -> ASR: labels, selection, durations."""
        streams, pseudo = self.out.streams, self.speaks and bool(self.wanted & {"pseudo", "speech"})
        if "recordings" in self.wanted:
            streams["recordings"] = replace(self.pool, name="recordings")
        if not (pseudo or "labelled" in self.wanted):
            return
        if self.conf.label.source == "oracle":
            self._certain(pseudo)
            return
        labels = self._labels(judge=pseudo and self.conf.label.judged > 0)
        if "labelled" in self.wanted:
            streams["labelled"] = _listed("labelled", self.pool, labels, "posteriors", labels.numbers("posterior") > 0)
        kept = self._select(labels) if pseudo else np.arange(len(labels))
        self.out.monitors |= label_quality(self.exp, labels, kept)

    def _certain(self, pseudo: bool) -> None:
        """The true transcripts in place of labels: the oracle control."""
        known = with_texts(self.pool, "pseudo", true_texts(self.exp))
        if pseudo:
            self.out.streams["pseudo"], _ = self.aligned(known)
        if "labelled" in self.wanted:
            self.out.streams["labelled"] = replace(known, name="labelled", nbest=[[(text, 1.0)] for text in known.texts])

    def _labels(self, judge: bool) -> Table:
        """The speech pool as the recogniser hears it."""
        search = label_search(self.exp, open_asr(self.exp, self.start, self.fabric.device), self.fabric)
        job = LabelJob(self.exp, self.start, self.work / "labels", search, judge)
        run(job, self.fabric, self.cluster)
        labels = job.labels()
        heard = {token for text in labels.subset(sample(len(labels))).column("text") for token in text.split()}
        self.out.monitors |= {"prior_weight": search.prior_weight, "prior_length": search.prior_length}
        self.out.monitors["empty_labels"] = float(np.mean(labels.numbers("tokens") == 0))
        self.out.monitors["vocabulary"] = len(heard) / max(1, len(self.paired_tokens))
        return labels

    def _select(self, labels: Table) -> NDArray[np.int64]:
        """Makes `pseudo` of the labels that the rules keep, and `speech` of those that the synthesiser judged; returns what is kept."""
        chosen = select(labels, self.conf.select_labels, LABEL_RULES, self.number, self._context(len(labels)))
        kept = self.pool.subset(chosen.kept)
        kept.name, kept.texts = "pseudo", labels.subset(chosen.kept).column("text")
        self.out.streams["pseudo"], lost = self.aligned(kept)
        chosen.drop(lost, "too short for its tokens")
        _write_selection(self.work, "labels", labels, chosen, ("utt", "text", "logp", "posterior"))
        self.out.streams["speech"] = _listed("speech", self.pool, labels, "tts", labels.numbers("judged") > 1)
        return chosen.kept

    @cached_property
    def paired_tokens(self) -> set[str]:
        return {token for text in open_pool(self.exp, "paired").texts for token in text.split()}

    def _context(self, pool: int) -> dict[str, Any]:
        """What selection rules may know: nothing but the paired pool and the size of the speech pool."""
        pace = read_json(self.exp.tokens / "stats.json")["frames_per_token"]
        return {"pool": pool, "paired_tokens": self.paired_tokens, "frames_per_token": pace}

    def text_side(self) -> None:
        """text -> TTS: synthetic speech, heard by the recogniser, selected."""
        exp = self.exp
        job = SpeakJob(exp, self.number, self.start, self.work / "synthetic")
        self.out.streams["text"] = job.texts()
        if "synthetic" not in self.wanted:
            return
        run(job, self.fabric, self.cluster)
        spoken = job.spoken()
        assert spoken.store is not None
        table = spoken.store.table
        chosen = select(table, self.conf.select_synthetic, SYNTHETIC_RULES, self.number, {})
        self.out.streams["synthetic"] = spoken.subset(chosen.kept)
        _write_selection(self.work, "synthetic", table, chosen, ("utt", "text", "heard", "spk"))
        rhythm, tone = table.numbers("duration_std"), table.numbers("pitch_std")
        sound = table.numbers("finite").astype(np.bool_) & np.isfinite(rhythm)  # an autoregressive synthesiser has no durations
        if sound.any():
            self.out.monitors |= {"tts_duration_std": float(rhythm[sound].mean()), "tts_pitch_std": float(tone[sound].mean())}
        lending = [open_pool(exp, pool) for pool in self.conf.speak.speakers]
        self.out.monitors |= voices(lending, self.out.streams["synthetic"], self.conf.speak.batch_frames, self.fabric.device)
        some = table.subset(sample(len(table)))
        self.out.monitors |= {
            "synthetic_error": error_rate([t.split() for t in some.column("text")], [h.split() for h in some.column("heard")]),
            "synthetic_kept": len(chosen.kept) / max(1, len(table)),
        }


def _listed(name: str, pool: Stream, labels: Table, scores: str, known: NDArray[np.bool_]) -> Stream:
    """The utterances that are `known`, with their labels, N-best lists, and a score of each hypothesis."""
    keep = np.flatnonzero(known)
    stream, some = pool.subset(keep), labels.subset(keep)
    stream.name, stream.texts, stream.nbest = name, some.column("text"), Lists(some, scores)
    return stream


def _write_selection(work: Path, name: str, items: Table, chosen: Selection, columns: tuple[str, ...]) -> None:
    """What was kept, and what was not with the reason, as tables to read."""
    values = [items.column(c) for c in columns]
    write_tsv(work / "selection" / f"{name}_kept.tsv", columns, zip(*(v[chosen.kept] for v in values), strict=True))
    rows = ((values[0][i], reason, *(v[i] for v in values[1:])) for i, reason in chosen.rejected())
    write_tsv(work / "selection" / f"{name}_rejected.tsv", (columns[0], "reason", *columns[1:]), rows)
