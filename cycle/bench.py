"""`python -m cycle bench exchange|train [EXP]`: ours against stock ESPnet, side by side in one run: same models, utterances, cores."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from cycle.config import ROOT
from cycle.data.batch import Batch
from cycle.device import fabric, resolve
from cycle.errors import UserError
from cycle.eval.errors import error_rate
from cycle.eval.tables import plain
from cycle.exchange.evaluate import decode
from cycle.exchange.pools import align, known_speakers, open_pool
from cycle.exchange.speak import draw_speakers
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.files import write_json
from cycle.models import stock
from cycle.models.pair import build_asr, build_tts, load_asr, load_frame_model, load_tts, read_voices
from cycle.models.vocabulary import Vocabulary
from cycle.objectives.base import Models
from cycle.objectives.supervised import AsrSupervised, TtsSupervised
from cycle.settings import Augment, Search
from cycle.train.loop import Task, Trainer
from cycle.train.streams import Mixture, Stream, collate

log = logging.getLogger("cycle")
type Row = dict[str, Any]
SHOWN = (("seconds", 2, "seconds"), ("speed", 0, "times real time"), ("steps", 1, "steps/s"), ("error", 3, "error"), ("loss", 3, "loss"),
         ("ratio", 1, "times stock"))  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Prints a table; writes the numbers as JSON where asked to."""
    device = resolve(options.device)
    exp = _experiment(options.path, device)
    result = bench_exchange(exp, options.utterances) if options.what == "exchange" else bench_train(exp, options.steps)
    print(f"{exp.path}, {device}, {torch.get_num_threads()} threads")
    for part in ("asr", "tts"):
        rows = [[name, *(f"{row[key]:.{digits}f}" for key, digits, _ in SHOWN if key in row)] for name, row in result[part]["rows"].items()]
        shown = [title for key, _, title in SHOWN if key in next(iter(result[part]["rows"].values()))]
        print(f"\n{part}\n" + plain(["", *shown], rows))
    if options.json:
        write_json(options.json, result)
    return 0


def _experiment(path: Path | None, device: str) -> Experiment:
    """A finished pretraining; without one, `mini` is pretrained in `exp/bench`."""
    from cycle.use import open_finished

    if path is None:
        path = ROOT / "exp" / "bench"
        words = [sys.executable, "-m", "cycle", "run", "--exp", str(path), "--stop-stage", "3", "--device", device]
        if subprocess.run(words, check=False).returncode:
            raise UserError("the models to measure could not be trained", path, "see the lines above")
    exp = open_finished(path, device)
    if not exp.round(0).is_dir():
        raise UserError("is not pretrained", path, "run stages 1 to 3 first")
    if "tts" not in exp.config.models:
        raise UserError("has no synthesiser, and bench measures both models", path, "name another experiment, or use: bench reward")
    return exp


def timed[T](work: Callable[[], T], device: str, repeat: int = 1) -> tuple[float, T]:
    """Seconds of the quickest of some runs, and the last result; the device has finished when the clock stops."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        value = work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, value


def bench_exchange(exp: Experiment, utterances: int) -> dict[str, Any]:
    """The exchange of `utterances` of the test pool both ways, with the error rates of what came out.

    Returns:
        `asr` and `tts`, each with `ratio` (stock one by one, seconds over ours, as used in rounds) and all rows; speeds in times real time.
    """
    test = open_pool(exp, "test")
    test = test.subset(range(min(utterances, len(test))))
    conf = exp.config.features
    seconds = float(test.frames.sum()) * conf.hop / conf.fs
    log.info("%d utterances, %.0f s", len(test), seconds)
    return {"utterances": len(test), "seconds_of_speech": seconds, "device": exp.device, "threads": torch.get_num_threads(),
            "asr": _asr(exp, test, seconds), "tts": _tts(exp, test)}  # fmt: skip


def _asr(exp: Experiment, test: Stream, seconds: float) -> dict[str, Any]:
    runner = fabric(exp.device, exp.config.precision)
    asr, theirs = load_asr(exp.round(0), exp.config, runner.device), stock.speech2text(exp.round(0), exp.device)
    assert test.store is not None
    mels = [test.store.feats(row).astype("float32") for row in test.rows]
    used = replace(exp.config.rounds.label.search, tune=False)
    equal = Search("joint", beam=stock.BEAM, ctc_weight=stock.CTC_WEIGHT)

    def ours(search: Search) -> list[str]:
        lists = decode(asr, test, search, exp.config.rounds.label.batch_frames, runner, "bench")
        return [hyps[0].text if hyps else "" for hyps in lists]

    works: dict[str, tuple[Callable[[], list[str]], int]] = {
        "stock Speech2Text, one by one, beam 10": (lambda: stock.transcribe_each(theirs, mels), 1),
        "stock batch_decode, beam 10": (lambda: stock.transcribe_batch(theirs, mels), 1),
        "ours, the same search in batches": (lambda: ours(equal), 1),
        f"ours, as in rounds: {used.method} {used.beam}, {used.nbest}-best": (lambda: ours(used), 3),
        "ours, ctc_greedy": (lambda: ours(Search("ctc_greedy")), 3),
    }
    stock.transcribe_each(theirs, mels[:1])  # what happens once is nobody's speed
    ours(equal)
    refs, rows = [text.split() for text in test.texts], {}
    for name, (work, repeat) in works.items():
        took, hyps = timed(work, exp.device, repeat)
        rows[name] = {"seconds": took, "speed": seconds / took, "error": error_rate(refs, [hyp.split() for hyp in hyps])}
    return _with_ratios(rows, list(works)[3], list(works)[2])


def _tts(exp: Experiment, test: Stream) -> dict[str, Any]:
    runner, voices = fabric(exp.device, exp.config.precision), read_voices(exp)
    tts, theirs = load_tts(exp.round(0), exp.config, voices, runner.device), stock.synthesize_each(exp.round(0), exp.device)
    asr = load_asr(exp.round(0), exp.config, runner.device)
    spks = draw_speakers(test, known_speakers(open_pool(exp, "paired")), exp.config.seed)
    vectors = None if voices.size is None else voices.embeddings(spks, runner.device)
    texts = Stream("text", test.utt_ids, spks, test.texts)

    def speak(group: list[int], batch: Batch) -> list[torch.Tensor]:
        with torch.no_grad(), runner.autocast():
            speech = tts.synthesize(batch.texts, batch.spks).speech
        return [row[:n] for row, n in zip(speech.feats.float().cpu(), speech.lengths.tolist(), strict=True)]

    def ours() -> list[torch.Tensor]:
        return sweep(texts, exp.config.rounds.speak.batch_frames, runner.device, "bench", speak)

    theirs(test.texts[:1], vectors)
    ours()
    hop = exp.config.features.hop / exp.config.features.fs
    rows = {}
    works = {"stock Text2Speech, one by one": lambda: theirs(test.texts, vectors), "ours, in batches, as in rounds": ours}
    for name, work in works.items():
        took, feats = timed(work, exp.device, 1 if "stock" in name else 3)
        rows[name] = {"seconds": took, "speed": sum(map(len, feats)) * hop / took, "error": _heard(asr, feats, test, exp.device)}
    return _with_ratios(rows, list(works)[1], list(works)[1])


def _heard(asr: Any, feats: list[torch.Tensor], test: Stream, device: str) -> float:
    """Token error of the recogniser on synthetic speech: that batches say what single sentences say."""
    from cycle.data.batch import speech_of

    heard = [asr.transcribe(speech_of([row.cpu().numpy()]).to(torch.device(device)), Search("ctc_greedy"))[0][0].text for row in feats]
    return error_rate([text.split() for text in test.texts], [text.split() for text in heard])


def bench_train(exp: Experiment, steps: int) -> dict[str, Any]:
    """Supervised training of fresh models of the experiment's sizes: ours and ESPnet's own trainer on the same batches.

    Returns:
        `asr` and `tts`, each with `ratio` of steps a second, and the loss on the first batches afterwards.
    """
    aligner_device = fabric(exp.device, exp.config.precision).device
    vocabulary = Vocabulary.read(exp.tokens / "tokens.txt")
    aligner = load_frame_model(exp.aligner, exp.config.aligner, exp.config, vocabulary, aligner_device)
    paired, _ = align(open_pool(exp, "paired"), aligner, exp.config.rounds.label.batch_frames, aligner_device)
    out = {"steps": steps, "device": exp.device, "threads": torch.get_num_threads()}
    return out | {name: _train(exp, name, paired, vocabulary, steps) for name in ("asr", "tts")}


def _train(exp: Experiment, name: str, paired: Stream, vocabulary: Vocabulary, steps: int) -> dict[str, Any]:
    runner, conf = fabric(exp.device, exp.config.precision), replace(exp.config, augment=Augment())  # stock has none
    mixture = Mixture({"paired": paired}, {"paired": 1.0}, conf.pretrain.batch_frames, conf.seed)
    optimizer = replace(conf.pretrain.asr if name == "asr" else conf.pretrain.tts, warmup=0.0, floor=1.0)
    objective = AsrSupervised() if name == "asr" else TtsSupervised()

    def fresh() -> Any:
        torch.manual_seed(conf.seed)
        built = build_asr(conf, vocabulary) if name == "asr" else build_tts(conf, vocabulary, read_voices(exp))
        return built.to(runner.device).train()

    def ours(model: Any, count: int) -> None:
        with TemporaryDirectory() as folder:
            run = replace(conf.run, checkpoint_seconds=1e9)
            parts = {name: (model, optimizer)}
            tasks = [Task(name, objective, mixture)]  # type: ignore[arg-type]
            Trainer(Path(folder), Path(folder), "bench", Models(model, model), parts, tasks, count, conf.seed, run, runner).fit()

    def theirs(model: Any, count: int) -> None:
        adam = torch.optim.AdamW(model.parameters(), lr=optimizer.lr, betas=(0.9, 0.98), weight_decay=optimizer.weight_decay)
        batches = (collate(mixture.items(n)).to(torch.device("cpu")) for n in range(count))
        inner = stock.Bare(model.tts) if name == "tts" else model.model
        stock.train_epoch(inner, adam, (stock.inputs(model, batch) for batch in batches), exp.device)

    rows = {}
    for title, work in (("ESPnet's trainer", theirs), ("ours", ours)):
        work(fresh(), 3)  # what happens once is nobody's speed
        model = fresh()
        took, _ = timed(partial(work, model, steps), exp.device)
        rows[title] = {"seconds": took, "steps": steps / took, "loss": _loss(model.eval(), objective, mixture, runner)}
    return _with_ratios(rows, "ours", "ours")


@torch.no_grad()
def _loss(model: Any, objective: Any, mixture: Mixture, runner: Any) -> float:
    """The loss on the first batches, without training noise."""
    batches = [collate(mixture.items(n)).to(runner.device) for n in range(4)]
    return sum(float(objective(batch, Models(model, model), 0).value) for batch in batches) / len(batches)


def _with_ratios(rows: dict[str, Row], used: str, equal: str) -> dict[str, Any]:
    """Stock one by one is the first row; how many times faster the others are."""
    first = next(iter(rows.values()))["seconds"]
    for row in rows.values():
        row["ratio"] = first / row["seconds"]
    out = {"ratio": rows[used]["ratio"], "ratio_equal_search": rows[equal]["ratio"], "rows": rows}
    if "error" in rows[used]:
        out |= {"error": rows[used]["error"], "stock_error": next(iter(rows.values()))["error"]}
    return out
