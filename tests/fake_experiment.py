"""A small decoded experiment, written as stage 5 leaves it, for tests of what comes after."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from cycle.config import load
from cycle.data.schemas import LABEL
from cycle.data.table import write as write_table
from cycle.eval.samples import Sample, View
from cycle.experiment import Experiment
from cycle.files import write_json, write_jsonl, write_text, write_tsv

ERROR_RATES = {"baseline": 0.35, "cycle": 0.12, "more_steps": 0.33, "oracle": 0.05}
SYLLABLES = (("n", "i3", "你"), ("h", "ao3", "好"), ("zh", "ong1", "中"), ("r", "en2", "人"), ("a1", "", "啊"))
ROUND = {"synthetic_error": 0.2, "kept_share": 0.5, "kept_error": 0.1, "rejected_error": 0.4, "tts_duration_std": 3.0, "vocabulary": 8}


def utterances(n: int, error: float, seed: int) -> list[dict[str, Any]]:
    """Rows of a decoded set; the references are the same for every seed of `error`."""
    words, noise = random.Random(0), random.Random(seed)
    rows = []
    for number in range(n):
        word = words.choices(SYLLABLES, k=words.randint(1, 4))
        ref = [token for initial, final, _ in word for token in (initial, final) if token]
        hyp = [noise.choice(["i3", "ao3", "x"]) if noise.random() < error else token for token in ref]
        text = "".join(char for *_, char in word)
        rows.append({"utt": f"u{number:03d}", "spk": f"s{number % 2}", "text": text, "ref": " ".join(ref), "hyp": " ".join(hyp)})
        rows[-1] |= {"logp": -1.0, "seconds": 0.5}
    return rows


def experiment(path: Path, recipe: str = "cycle") -> Experiment:
    return Experiment(path=path, config=load("mini", "cycle", ["preset=smoke"], "cpu"), corpus="mini", recipe=recipe)


def decoded(path: Path, systems: tuple[str, ...] = ("baseline", "cycle"), n: int = 60, recipe: str = "cycle") -> Experiment:
    """An experiment after stage 5, with these systems."""
    exp = experiment(path, recipe)
    for seed, system in enumerate(systems):
        error = ERROR_RATES.get(system, ERROR_RATES["cycle"])
        write_jsonl(exp.decoded(system) / "test.jsonl", utterances(n, error, seed))
        write_jsonl(exp.decoded(system) / "dev.jsonl", utterances(n // 3, error, seed + 10))
    write_json(path / "decode" / "systems.json", {"systems": list(systems), "seconds": 12.5})
    rounds = [{"round": i, "asr_dev": 0.36 / (i + 1), "asr_test": 0.35 / (i + 1), "tts_intelligibility": 0.3 - 0.1 * i} for i in range(3)]
    write_json(path / "decode" / "rounds.json", rounds)
    return exp


def trained(path: Path, systems: tuple[str, ...] = ("baseline", "cycle"), rounds: int = 3) -> Experiment:
    """The same with the monitors and losses that training leaves."""
    exp = decoded(path, systems)
    for number in range(rounds):
        values = {"status": "ok", "asr_dev": 0.36 / (number + 1), "tts_pitch_std": 20.0 + number, **(ROUND if number else {})}
        write_json(exp.round(number) / "metrics.json", values)
    phases = ["pretrain asr", *(f"round {number}" for number in range(1, rounds))]
    lines = [
        {"phase": p, "step": s, "supervised/loss": 5 / s + i, "norm/asr": 1.0} for i, p in enumerate(phases) for s in range(20, 101, 20)
    ]
    write_jsonl(path / "metrics.jsonl", lines)
    return exp


def whole(path: Path, systems: tuple[str, ...] = ("baseline", "cycle", "oracle"), pairs: int = 40) -> Experiment:
    """The same with everything else that a finished experiment leaves and a report reads, but for its models."""
    exp = trained(path, systems)
    write_json(path / "rounds.json", {"best": 2})
    for number in range(3):
        rows = utterances(60, 0.36 / (number + 1), number)
        write_jsonl(exp.decoded_round(number), [{key: row[key] for key in ("utt", "ref", "hyp")} for row in rows])
    for pool, count in (("paired", pairs), ("speech", 20), ("text", 50), ("dev", 20), ("test", 60)):
        _pool(exp, pool, utterances(count, 0.0, 0))
    rows = utterances(20, 0.3, 1)
    _lines(exp.oracle / "speech" / "tokens", {row["utt"]: row["ref"] for row in rows})
    for number in (1, 2):
        labels = [
            {"utt": r["utt"], "text": r["hyp"], "frames": 40, "tokens": len(r["hyp"].split()), "logp": -1.0 - i} for i, r in enumerate(rows)
        ]
        write_table(exp.round(number) / "labels" / "00000.arrow", labels, LABEL)
        _selection(exp.round(number) / "selection", rows)
    for number, verb in enumerate(("prepare", "tokens", "pretrain", "rounds", "decode"), 1):
        write_json(exp.stamps / f"{number}_{verb}.json", {"done": True, "seconds": 10.0 * number})
    about = {"corpus": "mini", "recipe": "cycle", "device": "cpu", "command": ["run", "--", "preset=smoke"], "versions": {"torch": "2"}}
    write_json(path / "experiment.json", about)
    return exp


def _lines(file: Path, values: dict[str, str]) -> None:
    write_text(file, "".join(f"{key} {value}\n" for key, value in sorted(values.items())))


def _pool(exp: Experiment, pool: str, rows: list[dict[str, Any]]) -> None:
    """A data directory; its recordings are not there."""
    folder = exp.data(pool)
    if pool != "speech":
        _lines(folder / "text", {row["utt"]: row["text"] for row in rows})
        _lines(folder / "tokens", {row["utt"]: row["ref"] for row in rows})
    if pool != "text":
        _lines(folder / "wav.scp", {row["utt"]: f"/nowhere/{row['utt']}.wav" for row in rows})
        _lines(folder / "utt2spk", {row["utt"]: row["spk"] for row in rows})
        _lines(folder / "utt2dur", {row["utt"]: "1.5" for row in rows})


def _selection(folder: Path, rows: list[dict[str, Any]]) -> None:
    write_tsv(folder / "labels_kept.tsv", ("utt", "text", "logp", "posterior"), [(r["utt"], r["hyp"], -1.5, 0.9) for r in rows[:10]])
    dropped = [(r["utt"], "confidence: -3.0 below -2.0", r["hyp"], -3.0, 0.1) for r in rows[10:]]
    write_tsv(folder / "labels_rejected.tsv", ("utt", "reason", "text", "logp", "posterior"), dropped)
    write_tsv(folder / "synthetic_kept.tsv", ("utt", "text", "heard", "spk"), [(r["utt"], r["ref"], r["hyp"], "s0") for r in rows])
    write_tsv(folder / "synthetic_rejected.tsv", ("utt", "reason", "text", "heard", "spk"), [])


def samples(seed: int = 0) -> list[Sample]:
    """What models of three rounds might make of two utterances."""
    rng = np.random.default_rng(seed)

    def view(number: int, recorded: bool) -> View:
        out = View(
            number, "n i3 h ao3", "n i3 h ao3", rng.normal(size=(40, 80)).astype(np.float32), np.array([10, 10, 8, 8, 4], np.float32)
        )
        if recorded:
            out.labels, out.second = ["(blank)", "n", "i3", "h", "ao3"], 15.0
            out.posteriors = rng.random((5, 12)).astype(np.float32)
            out.path = np.array([0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 8], np.float32)
            out.attention = rng.random((5, 12)).astype(np.float32)
        return out

    feats = rng.normal(size=(50, 80)).astype(np.float32)
    test = Sample(
        "test", "u000", "s0", "changed least", "你好", "n i3 h ao3", "/nowhere/u000.wav", feats, None, [view(n, True) for n in range(3)]
    )
    return [test, Sample("text", "u001", "", "an unpaired sentence", "好人", "h ao3 r en2", views=[view(n, False) for n in (0, 2)])]


CAPTIONS = {
    "c0": ["a dog barks", "the dog is barking", "a dog barking twice"],
    "c1": ["rain falls", "it is raining", "rain falling hard"],
    "c2": ["a bell rings then a dog barks", "a bell and a dog", "a bell ringing followed by barking"],
    "c3": ["wind", "a strong wind blows", "the wind is blowing"],
}


def captioned(path: Path, said: dict[str, list[str]]) -> Experiment:
    """A captioning experiment after stage 5: what each system says of c0 to c3."""
    config = load("scenes", "caption_scst", ["preset=smoke"], "cpu")
    exp = Experiment(path=path, config=config, corpus="scenes", recipe="caption_scst")
    for system, hyps in said.items():
        rows = [
            {"utt": clip, "spk": "-", "text": texts[0], "ref": texts[0], "hyp": hyp, "logp": -1.0, "seconds": 2.0, "refs": texts}
            for (clip, texts), hyp in zip(CAPTIONS.items(), hyps, strict=True)
        ]
        for name in ("test", "dev"):
            write_jsonl(exp.decoded(system) / f"{name}.jsonl", rows)
    write_json(path / "decode" / "systems.json", {"systems": list(said), "seconds": 12.5})
    rounds = [{"round": i, "asr_dev": 0.5 + i, "asr_test": 0.5 + i, "status": "ok", "empty_share": 0.0} for i in range(2)]
    write_json(path / "decode" / "rounds.json", rounds)
    for number, row in enumerate(rounds):
        write_json(exp.round(number) / "metrics.json", row)
    return exp
