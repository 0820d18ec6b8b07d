"""All data of a round: the pair's outputs on the pools, selected, aligned, and ready to train on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric

from cycle.errors import UserError
from cycle.eval.errors import error_rate
from cycle.eval.oracle import label_quality, true_texts
from cycle.exchange.evaluate import tuned
from cycle.exchange.label import Label, label_pool
from cycle.exchange.pools import align, known_speakers, open_pool, with_texts
from cycle.exchange.select import LABEL_RULES, SYNTHETIC_RULES, select
from cycle.exchange.speak import choose_sentences, draw_speakers, speak_pool, synthetic_stream
from cycle.experiment import Experiment
from cycle.files import read_json, write_tsv
from cycle.models.frame_ctc import FrameCTC
from cycle.models.ngram import NGram
from cycle.models.pair import load_asr, load_frame_model, load_tts, read_voices
from cycle.models.vocabulary import Vocabulary
from cycle.train.streams import Stream, seed_of

log = logging.getLogger("cycle")
STREAMS = {"paired", "pseudo", "synthetic", "text", "speech"}


@dataclass
class RoundData:
    """Streams by name, and what was watched while making them."""

    streams: dict[str, Stream] = field(default_factory=dict)
    monitors: dict[str, Any] = field(default_factory=dict)


def wanted_streams(exp: Experiment) -> set[str]:
    """The streams that any objective with a weight draws on.

    Raises:
        UserError: a stream that does not exist.
    """
    wanted = set()
    for name, conf in exp.config.rounds.objectives.items():
        for stream, share in conf.mix.items():
            if stream not in STREAMS:
                where = f"rounds.objectives.{name}.mix"
                raise UserError(f"no stream {stream!r}", where, f"choose among: {', '.join(sorted(STREAMS))}")
            if conf.weight > 0 and share > 0:
                wanted.add(stream)
    return wanted


def exchange(exp: Experiment, number: int, start: Path, work: Path, fabric: Fabric) -> RoundData:
    """Makes the streams that the recipe wants with the models of `start`; work that an earlier call finished is read back."""
    wanted, out = wanted_streams(exp), RoundData()
    budget = exp.config.rounds.label.batch_frames
    vocabulary = Vocabulary.read(exp.tokens / "tokens.txt")
    aligner = load_frame_model(exp.aligner, exp.config.aligner, exp.config, vocabulary, fabric.device)
    paired = open_pool(exp, "paired")
    out.streams["paired"], _ = align(paired, aligner, budget, fabric.device)
    if wanted & {"pseudo", "speech"}:
        _speech_side(exp, number, start, work, aligner, out, fabric)
    if wanted & {"synthetic", "text"}:
        _text_side(exp, number, start, work, out, fabric)
    log.info("round %d: %s", number, ", ".join(f"{len(s)} {name}" for name, s in sorted(out.streams.items())))
    return out


def _speech_side(exp: Experiment, number: int, start: Path, work: Path, aligner: FrameCTC, out: RoundData, fabric: Fabric) -> None:
    """speech -> ASR: labels, selection, durations."""
    conf, pool = exp.config.rounds, open_pool(exp, "speech")
    if conf.label.source == "oracle":
        pseudo = with_texts(pool, "pseudo", true_texts(exp))
        out.streams["pseudo"], _ = align(pseudo, aligner, conf.label.batch_frames, fabric.device)
        return
    asr, tts = load_asr(start, exp.config, fabric.device), load_tts(start, exp.config, read_voices(exp.tokens), fabric.device)
    prior = NGram.load(exp.tokens / "prior.json")
    search = tuned(exp, asr, conf.label.search, prior, fabric)
    labels = label_pool(work / "labels", pool, asr, prior, search, conf.label, fabric, tts if conf.label.judged else None, aligner)
    kept, rejected = select(labels, conf.select_labels, LABEL_RULES, number, _context(exp, len(labels)), "rounds.select_labels")
    pseudo, lost = align(with_texts(pool, "pseudo", {k.utt: k.text for k in kept}), aligner, conf.label.batch_frames, fabric.device)
    rejected += [(k, "too short for its tokens") for k in kept if k.utt in set(lost)]
    out.streams["pseudo"] = pseudo
    _write_selection(work, "labels", [(k.utt, k.text, k.logp, k.posterior) for k in kept if k.utt not in set(lost)],
                     [(k.utt, reason, k.text, k.logp, k.posterior) for k, reason in rejected], ("text", "logp", "posterior"))  # fmt: skip
    out.streams["speech"] = _judged(pool, labels)
    used = set(pseudo.utt_ids)
    words = [label.text.split() for label in labels]
    out.monitors |= label_quality(exp, {label.utt: label.text for label in labels}, used)
    out.monitors |= {"prior_weight": search.prior_weight, "prior_length": search.prior_length, "empty_labels": words.count([]) / len(words)}
    out.monitors["vocabulary"] = len({t for w in words for t in w}) / max(1, len(_context(exp, 0)["paired_tokens"]))


def _context(exp: Experiment, pool: int) -> dict[str, Any]:
    """What selection rules may know: nothing but the paired pool and the size of the speech pool."""
    paired = {t for text in open_pool(exp, "paired").texts for t in text.split()}
    return {"pool": pool, "paired_tokens": paired, "frames_per_token": read_json(exp.tokens / "stats.json")["frames_per_token"]}


def _judged(pool: Stream, labels: list[Label]) -> Stream:
    """The utterances of which the synthesiser judged at least two hypotheses."""
    nbest = {
        k.utt: [(text, score) for text, score in zip(k.nbest, k.tts, strict=False) if text and score is not None] for k in labels
    }  # fmt: skip
    keep = [i for i, utt in enumerate(pool.utt_ids) if len(nbest.get(utt, [])) > 1]
    stream = pool.subset(keep)
    stream.name, stream.nbest = "speech", [nbest[utt] for utt in stream.utt_ids]
    return stream


def _text_side(exp: Experiment, number: int, start: Path, work: Path, out: RoundData, fabric: Fabric) -> None:
    """text -> TTS: synthetic speech, heard by the recogniser, selected."""
    conf, seed = exp.config.rounds, seed_of(exp.config.seed, "speak", number)
    asr, tts = load_asr(start, exp.config, fabric.device), load_tts(start, exp.config, read_voices(exp.tokens), fabric.device)
    texts = choose_sentences(open_pool(exp, "text"), conf.speak.count, number)
    texts.spks = draw_speakers(texts, list(known_speakers(out.streams["paired"])), seed)
    out.streams["text"] = texts
    if "synthetic" not in wanted_streams(exp):
        return
    store, spoken = speak_pool(work / "synthetic", texts, tts, asr, conf.speak, seed, fabric)
    kept, rejected = select(spoken, conf.select_synthetic, SYNTHETIC_RULES, number, {}, "rounds.select_synthetic")
    out.streams["synthetic"] = synthetic_stream(store, kept)
    _write_selection(work, "synthetic", [(s.utt, s.text, s.heard, s.spk) for s in kept],
                     [(s.utt, reason, s.text, s.heard, s.spk) for s, reason in rejected], ("text", "heard", "spk"))  # fmt: skip
    finite = [s for s in spoken if s.finite and np.isfinite(s.duration_std)]  # an autoregressive synthesiser has no durations
    if finite:
        out.monitors["tts_duration_std"] = float(np.mean([s.duration_std for s in finite]))
        out.monitors["tts_pitch_std"] = float(np.mean([s.pitch_std for s in finite]))
    out.monitors |= {
        "synthetic_error": error_rate([s.text.split() for s in spoken], [s.heard.split() for s in spoken]),
        "synthetic_kept": len(kept) / max(1, len(spoken)),
    }


def _write_selection(work: Path, name: str, kept: list[tuple[Any, ...]], rejected: list[tuple[Any, ...]], columns: tuple[str, ...]) -> None:
    write_tsv(work / "selection" / f"{name}_kept.tsv", ("utt", *columns), sorted(kept))
    write_tsv(work / "selection" / f"{name}_rejected.tsv", ("utt", "reason", *columns), sorted(rejected))
