"""Stage 5, `decode`: every system transcribes the evaluation sets, every round's synthesiser, where there is one, speaks them to a judge
outside the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cycle.data import kaldi
from cycle.data.batch import Batch, first_texts
from cycle.data.features import FeatureStore
from cycle.device import by_first
from cycle.device import fabric as make_fabric
from cycle.eval.errors import error_rate
from cycle.eval.oracle import true_texts
from cycle.exchange.evaluate import figure, hypotheses, transcripts, tuned, unit_error
from cycle.exchange.pools import known_speakers, open_pool, recorded, references, with_texts
from cycle.exchange.speak import draw_speakers
from cycle.exchange.sweep import sweep
from cycle.experiment import Experiment
from cycle.fabric import Fabric
from cycle.files import read_json, write_json, write_jsonl
from cycle.log import log
from cycle.models.frame_ctc import FrameCTC
from cycle.models.ngram import NGram
from cycle.models.pair import open_asr, open_tts
from cycle.pretrain import train_frame_model
from cycle.settings import Search
from cycle.train.streams import Stream

SETS = ("dev", "test")


def main(exp: Experiment) -> None:
    """Writes `decode/SYSTEM/{dev,test}.jsonl` for the experiment's system (and the baseline), and how its rounds fared."""
    judge = open_judge(exp) if "tts" in exp.config.models else None
    fabric = make_fabric(exp.device, "exact")  # scores are those of `cycle transcribe`
    by_first(fabric, lambda: _decode(exp, judge, fabric))


def _decode(exp: Experiment, judge: FrameCTC | None, fabric: Fabric) -> None:
    rounds = read_json(exp.path / "rounds.json")
    if exp.control is None:
        decode_system(exp, "baseline", exp.round(0), exp.config.decode, fabric)
    sets, test = decode_system(exp, exp.system, exp.round(rounds["best"]), exp.config.decode, fabric), open_pool(exp, "test")
    heard = judged_rounds(exp, judge, rounds["rounds"], fabric) if judge else {}
    history = []
    for metrics in rounds["rounds"]:
        folder = exp.round(metrics["round"])
        best = metrics["round"] == rounds["best"]
        hyps = sets["test"] if best else hypotheses(exp, folder, test, fabric, f"{folder.name}: decoding test")
        history.append({**metrics, "asr_test": _keep_round(exp, metrics["round"], hyps), **heard.get(metrics["round"], {})})
    write_json(exp.decoded(exp.system) / "rounds.json", history)


def judged_rounds(exp: Experiment, judge: FrameCTC, rounds: list[dict[str, Any]], fabric: Fabric) -> dict[int, dict[str, float]]:
    """How well a judge outside the loop understands the synthesiser of each round."""
    real = judge_on_recordings(exp, judge, fabric)
    log.info("the judge mishears %.1f %% of the real test recordings", 100 * real)
    numbers = [metrics["round"] for metrics in rounds]
    return {n: {"judge_on_recordings": real, **intelligibility(exp, exp.round(n), judge, fabric)} for n in numbers}


def decode_lm(exp: Experiment) -> None:
    """The control `lm`: the baseline decoded with the text-side prior, its weight chosen on dev."""
    fabric = make_fabric(exp.device, "exact")
    decode_system(exp, "lm", exp.round(0), exp.config.lm, fabric)


def decode_system(exp: Experiment, system: str, folder: Path, search: Search, fabric: Fabric) -> dict[str, list[str]]:
    """Transcribes dev and test; returns the hypotheses by set."""
    asr = open_asr(exp, folder, fabric.device)
    prior = NGram.load(exp.prior)
    chosen = tuned(exp, asr, search, prior, fabric)
    if search.tune:
        log.info("%s: prior weight %.1f, length %.1f, chosen on dev", system, chosen.prior_weight, chosen.prior_length)
    hyps = {}
    for name in SETS:
        hyps[name] = _decode_set(exp, system, name, asr, chosen, prior, fabric)
    return hyps


def _decode_set(exp: Experiment, system: str, name: str, asr: Any, search: Search, prior: NGram, fabric: Fabric) -> list[str]:
    stream = open_pool(exp, name)
    hyps, lists = transcripts(asr, stream, search, prior, exp.config.rounds.label.batch_frames, fabric, f"{system}: decoding {name}")
    utts = {u.utt_id: u for u in kaldi.read(exp.data(name))}
    texts = references(exp, name)
    write_jsonl(exp.decoded(system) / f"{name}.jsonl", (
        {"utt": utt, "spk": spk, "text": utts[utt].text, "ref": ref, "hyp": hyp, "logp": h[0].logp if h else None,
         "seconds": utts[utt].seconds, **({"refs": texts[utt]} if texts[utt] != [ref] else {})}
        for utt, spk, ref, hyp, h in zip(stream.utt_ids, stream.spks, stream.texts, hyps, lists, strict=True)
    ))  # fmt: skip
    return hyps


def _keep_round(exp: Experiment, number: int, hyps: list[str]) -> float:
    """Writes a round's transcripts of test, for the report to tell what it repaired and broke; returns its figure."""
    test = open_pool(exp, "test")
    rows = ({"utt": utt, "ref": ref, "hyp": hyp} for utt, ref, hyp in zip(test.utt_ids, test.texts, hyps, strict=True))
    write_jsonl(exp.decoded_round(number), rows)
    return figure(exp, test)(hyps)


def open_judge(exp: Experiment) -> FrameCTC:
    """A recogniser outside the loop: another architecture and seed, trained on true labels, in no budget."""
    conf, fabric = exp.config.judge, make_fabric(exp.device, "32")  # small, and recurrent layers have no bf16
    everything = recorded("all", FeatureStore(exp.feats("paired"), exp.feats("speech")))
    paired = open_pool(exp, "paired")
    labelled = with_texts(everything, "all", dict(zip(paired.utt_ids, paired.texts, strict=True)) | true_texts(exp))
    return train_frame_model(exp, exp.judge, conf.model, labelled, "judge", exp.config.seed + conf.seed_offset, fabric)


def judge_on_recordings(exp: Experiment, judge: FrameCTC, fabric: Fabric) -> float:
    """The judge's error on the real test recordings: what its verdict on synthetic speech is to be read against."""
    test = open_pool(exp, "test")

    def listen(group: list[int], batch: Batch) -> list[str]:
        assert batch.speech is not None
        return first_texts(judge.transcribe(batch.speech))

    heard = sweep(test, exp.config.rounds.label.batch_frames, fabric.device, "the judge hears recordings", listen)
    return unit_error(exp, test.texts, heard)


def intelligibility(exp: Experiment, folder: Path, judge: FrameCTC, fabric: Fabric) -> dict[str, float]:
    """How badly the judge hears a round's synthesiser say the test sentences."""
    test = open_pool(exp, "test")
    tts = open_tts(exp, folder, fabric.device)
    speakers = known_speakers(open_pool(exp, "paired"))
    texts = Stream("text", test.utt_ids, draw_speakers(test, speakers, exp.config.seed), test.texts)

    def listen(group: list[int], batch: Batch) -> list[str]:
        return first_texts(judge.transcribe(tts.synthesize(batch.texts, batch.spks).speech))

    heard = sweep(texts, exp.config.rounds.label.batch_frames, fabric.device, f"{folder.name}: the judge listens", listen)
    return {"tts_intelligibility": unit_error(exp, texts.texts, heard),
            "tts_intelligibility_tokens": error_rate([t.split() for t in texts.texts], [h.split() for h in heard])}  # fmt: skip
