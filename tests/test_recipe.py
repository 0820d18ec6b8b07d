"""The recipe as a user runs it: all stages, a second call, `kill -9`, stock ESPnet on what comes out, bad input on the command line."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cycle import rounds
from cycle.bench import train
from cycle.config import available
from cycle.device import fabric
from cycle.models import graphs
from cycle.models.pair import close_models, open_asr, open_tts
from cycle.use import open_finished
from tests.command import SMOKE, cycle, forked, quick


def rates(exp: Path) -> dict:
    summary = json.loads((exp / "summary.json").read_text())
    return {"systems": summary["systems"], "rounds": summary["rounds"]}


def test_summary_is_as_promised(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["systems"]["baseline"]["rate"] < 0.85  # even the smallest baseline has learnt something
    for key in (
        "corpus",
        "recipe",
        "metric",
        "higher_is_better",
        "seconds",
        "device",
        "seed",
        "systems",
        "rounds",
        "relative_reduction",
        "gap_recovered",
    ):
        assert key in summary
    assert summary["metric"] == "syllable_error_rate" and summary["gap_recovered"] is None
    assert set(summary["systems"]) == {"baseline", "cycle"}
    for system in summary["systems"].values():
        assert system["rate"] == pytest.approx(system["errors"] / system["ref"])
        assert system["ci95"][0] <= system["rate"] <= system["ci95"][1]
    assert [r["round"] for r in summary["rounds"]] == [0, 1, 2]
    assert all(r[k] >= 0 for r in summary["rounds"] for k in ("asr_dev", "asr_test", "tts_intelligibility"))


def assert_light(stderr: str) -> None:
    """Nothing was imported that takes seconds."""
    heavy = {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}
    assert "cycle.stage" in heavy and not heavy & {"torch", "espnet2", "lightning_fabric", "matplotlib"}


def test_a_second_call_skips_everything(finished, tmp_path):
    exp = shutil.copytree(finished, tmp_path / "mini", symlinks=True)  # which notes the command
    start = time.monotonic()
    again = cycle("run", "--exp", exp, *SMOKE)
    assert again.returncode == 0 and again.stdout.count("finished, skipped") == 7
    assert time.monotonic() - start < 30
    looked = cycle("run", "--exp", exp, *SMOKE, PYTHONPROFILEIMPORTTIME="1")
    assert looked.returncode == 0
    assert_light(looked.stderr)


def test_what_a_round_leaves(finished):
    for number in range(3):
        for model in ("asr", "tts"):
            for file in ("config.yaml", "model.pth"):
                assert (finished / f"round_{number:02d}" / model / file).is_file()
    rejected = (finished / "round_01/selection/labels_rejected.tsv").read_text().splitlines()
    kept = (finished / "round_01/selection/labels_kept.tsv").read_text().splitlines()
    assert rejected[0].startswith("utt\treason") and len(rejected) + len(kept) == 2 + 40
    monitors = json.loads((finished / "round_01/metrics.json").read_text())
    assert {"asr_dev", "synthetic_error", "kept_share", "tts_duration_std", "tts_pitch_std", "vocabulary", "status"} <= set(monitors)
    assert {f"round_{number:02d}.jsonl" for number in range(3)} < {p.name for p in (finished / "decode/cycle").iterdir()}
    assert not list(finished.rglob("*.tmp"))


def test_changed_settings_are_refused_by_name(finished):
    refused = quick("run", "--exp", finished, "--", "preset=smoke", "rounds.updates=17")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and "rounds.updates: 16 -> 17" in refused.stderr and refused.stderr.count("\n") == 1


def test_stock_espnet_agrees(finished, tmp_path):
    from espnet2.bin.asr_inference import Speech2Text
    from espnet2.bin.tts_inference import Text2Speech

    from cycle.config import load
    from cycle.data.features import recording_mel

    last = finished / "round_02"
    wavs = sorted((finished / "corpus").glob("*.wav"))[:3]
    said = quick("transcribe", finished, *wavs, "--round", "2", "--search", "joint", "--beam", "4", "--ctc-weight", "0.3")
    assert said.returncode == 0, said.stderr
    ours = [line.split("\t")[1] for line in said.stdout.splitlines()]
    stock = Speech2Text(last / "asr/config.yaml", last / "asr/model.pth", beam_size=4, ctc_weight=0.3, lm_weight=0.0)
    conf = load("mini", "cycle", [], "cpu").features
    assert ours == [stock(recording_mel(wav, conf))[0][0] for wav in wavs]
    out, feats = tmp_path / "a.wav", tmp_path / "a.npy"
    text = (finished / "data/test/tokens").read_text().splitlines()[0].split(maxsplit=1)[1]
    speakers, vectors = np.load(finished / "voices/speakers.npy"), np.load(finished / "voices/vectors.npy")
    made = quick("synthesize", finished, text, "--round", "2", "--spk", speakers[1], "--out", out, "--feats", feats)
    assert made.returncode == 0, made.stderr
    theirs = Text2Speech(last / "tts/config.yaml", last / "tts/model.pth")(text, spembs=torch.tensor(vectors[1], dtype=torch.float32))[
        "feat_gen"
    ]
    np.testing.assert_allclose(np.load(feats), theirs.numpy(), atol=1e-4)
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(("what", "count"), [("exchange", ["--utterances", "8"]), ("train", ["--steps", "3"])])
def test_bench_puts_stock_beside_ours(finished, tmp_path, what, count):
    done = quick("bench", what, finished, "--device", "cpu", *count, "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text())
    for part in ("asr", "tts"):
        rows = list(result[part]["rows"].values())
        assert rows[0]["ratio"] == 1.0 and all(row["seconds"] > 0 for row in rows)  # stock is what ratios are to
        assert any(row["ratio"] == result[part]["ratio"] for row in rows[1:])
        assert ("error" in rows[0]) == (what == "exchange")
        assert str(next(iter(result[part]["rows"]))) in done.stdout
        assert any(row.get("floor", 0) > 0 for row in rows) and "floor" not in rows[0]
    if what == "train":
        step, *parts = (row["milliseconds"] for row in result["cycle"]["rows"].values())
        assert len(parts) == 4 and result["cycle"]["over_parts"] == pytest.approx(step / sum(parts))  # the recipe's objectives
        assert "times the sum of its parts" in done.stdout


@pytest.mark.all
def test_bench_trains_with_graphs_too(finished, monkeypatch):
    """As on a GPU, with a stand-in for what is recorded: it computes anew each time."""
    counts = Counter()

    class Computed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, recording, *wanted):
            counts["replayed"] += 1
            own = [t for t in recording.inputs if t.requires_grad]
            ctx.recording, params = recording, recording.params if recording.whole else wanted[: len(wanted) - len(own)]
            with torch.enable_grad():
                ctx.made, ctx.wanted = recording.run(*recording.inputs), [*params, *own]
            out = tuple(o.detach() for o in ctx.made)
            ctx.mark_non_differentiable(*(o for o, made in zip(out, ctx.made, strict=True) if not made.requires_grad))
            return out

        @staticmethod
        def backward(ctx, *slopes):
            pairs = [(o, slope) for o, slope in zip(ctx.made, slopes, strict=True) if o.requires_grad]
            grads = torch.autograd.grad([o for o, _ in pairs], ctx.wanted, [s for _, s in pairs], allow_unused=True)
            count = len(ctx.recording.params)
            return None, *([graphs.joined(grads[:count], ctx.wanted[:count]), *grads[count:]] if ctx.recording.whole else grads)

    def record(run, params, inputs, pool, whole):
        counts["recorded"] += 1
        copies = [t.detach().clone().requires_grad_(t.requires_grad) for t in inputs]
        return SimpleNamespace(run=run, inputs=copies, grads=[], whole=whole, params=params, reached=[True] * len(params))

    monkeypatch.setattr(graphs, "Pool", list)
    monkeypatch.setattr(graphs, "_leaves", lambda model: contextlib.nullcontext({p: p for p in model.parameters()}))
    monkeypatch.setattr(graphs, "Recording", record)
    monkeypatch.setattr(graphs, "_Replay", Computed)
    monkeypatch.setattr(train, "recordable", lambda fabric: True)
    exp = open_finished(finished)
    exp = replace(exp, config=replace(exp.config, graphs=True))
    result = dict(train.measure(exp, 4))
    for part in ("asr", "tts"):
        rows = result[part]["rows"]
        assert rows[train.REPLAYED]["ratio"] == result[part]["ratio"] and "floor" in rows["ours"]
        assert rows[train.REPLAYED]["losses"] == pytest.approx(rows["ours"]["losses"], rel=0.01) and rows["ours"]["apart"] < 0.01
    # Every step of three runs: before anything is timed, timed, and for the curve or, of the cycle, once more before. Of each model; of
    # both together, tts at every other one, the other's judgement at one (three networks and one); of each objective alone.
    assert counts["recorded"] >= 8 and counts["replayed"] == 3 * (4 * (2 + 1.5 + 2) + 4 + 4 * 4)
    assert result["cycle"]["over_parts"] > 0


def test_rounds_fill_the_same_pair(finished, tmp_path, monkeypatch):
    """Recordings belong to its memory. What it holds already is not read again, under whatever name it lies."""
    exp = open_finished(finished)
    models = rounds.RoundModels(exp, fabric("cpu", "32"))
    models.fill(exp.round(0))
    pair = models.take()
    places = [p.data_ptr() for model in (pair.asr, pair.tts) for p in model.parameters()]
    models.fill(exp.round(1))
    assert models.take() is pair
    assert places == [p.data_ptr() for model in (pair.asr, pair.tts) for p in model.parameters()]
    for mine, saved in zip((pair.asr, pair.tts), ("asr", "tts"), strict=True):
        weights = torch.load(exp.round(1) / saved / "model.pth", weights_only=True)
        assert all(torch.equal(value, weights[name]) for name, value in mine.model.state_dict().items())
        mine.save(tmp_path / "work" / saved)
    models.lend(tmp_path / "work")
    (tmp_path / "work").rename(tmp_path / "round")
    monkeypatch.setattr(rounds, "load_weights", lambda *_: pytest.fail("read again"))
    models.fill(tmp_path / "round")
    pair.asr.save(tmp_path / "round/asr")  # another file by the same name
    with pytest.raises(pytest.fail.Exception, match="read again"):
        models.fill(tmp_path / "round")
    models.lend(tmp_path / "round")
    models.take()  # and who knows what becomes of it
    with pytest.raises(pytest.fail.Exception, match="read again"):
        models.fill(tmp_path / "round")
    models.lend(tmp_path / "nowhere")  # which another machine may not see yet
    with pytest.raises(pytest.fail.Exception, match="read again"):
        models.fill(tmp_path / "nowhere")
    close_models()


def test_the_pair_is_lent_until_it_moves_and_when_it_has(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "mini", symlinks=True, ignore=shutil.ignore_patterns("round_02"))
    exp, seen = open_finished(tmp_path / "mini"), {}

    def look(at: str, folder: Path) -> None:
        seen[at] = (open_asr(exp, folder, torch.device("cpu")), open_tts(exp, folder, torch.device("cpu")))

    def exchange(exp, number, start, work, fabric, cluster):
        look("exchange", start)
        return rounds.RoundData()

    def train_round(exp, number, models, start, data, rate, work, fabric):
        look("start", start)  # as an objective does that compares the pair with what it was
        seen["pair"] = (models.asr, models.tts)
        for name in ("asr", "tts"):
            model = getattr(models, name).train()
            param = next(model.parameters())
            param.grad = torch.zeros_like(param)
            model.encoded = torch.zeros(1)  # what a layer may keep of a batch
            model.save(work / name)

    def dev_figure(exp, folder, fabric):
        look("dev", folder)
        assert not any(model.training or model.encoded is not None for model in seen["dev"])
        assert not any(p.grad is not None for model in seen["dev"] for p in model.parameters())
        return {"asr_dev": 0.5, "empty_share": 0.0}

    for stand_in in (exchange, train_round, dev_figure):
        monkeypatch.setattr(rounds, stand_in.__name__, stand_in)
    history = [{"round": n, "asr_dev": 0.5, "status": "ok"} for n in range(2)]
    rounds.run_round(exp, history, fabric("cpu", "32"), rounds.RoundModels(exp, fabric("cpu", "32")))
    for k in range(2):
        assert seen["exchange"][k] is seen["pair"][k] is seen["dev"][k] is not seen["start"][k]
    close_models()


def test_no_leak_between_pools(finished):
    def texts(path: Path) -> set[str]:
        return {line.split(maxsplit=1)[1] for line in path.read_text().splitlines()}

    evaluation = texts(finished / "data/dev/tokens") | texts(finished / "data/test/tokens")
    speech = texts(finished / "oracle/speech/tokens")
    paired, text = texts(finished / "data/paired/tokens"), texts(finished / "data/text/tokens")
    assert not evaluation & (speech | paired | text) and not speech & text
    assert not (finished / "data/speech/text").exists() and not (finished / "data/speech/tokens").exists()


def run_and_kill(words: list[str], begun: Callable[[str], object], seconds: float) -> int | None:
    """Starts a command and kills its process group so long after a line of its log; returns the stage it was at, None if it ended."""
    with forked(*words) as (process, out, wrong):
        while process.exitcode is None and not any(map(begun, out.read_text().splitlines())):
            process.join(0.02)
        process.join(seconds)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return at(out.read_text())
        assert process.exitcode == 0, out.read_text()[-2000:] + wrong.read_text()[-2000:]
    return None


def at(said: str) -> int:
    """The last stage that a log speaks of."""
    return max((int(number) for number in re.findall(r"INFO stage (\d)", said)), default=0)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.all)])
def test_kill_nine_changes_nothing(finished, tmp_path, kills):
    """A third each before the rounds, spread as a run spends its time on this machine; in the first round's training; in the second."""
    words = ["run", "--exp", str(tmp_path / "mini"), "--stop-stage", "6", *SMOKE]
    seconds = [json.loads(p.read_text())["seconds"] for p in sorted((finished / "stamps").glob("[1-3]_*.json"))]
    ends, rng, last, killed, each = np.cumsum(seconds), random.Random(kills), 0.0, [], kills // 3
    for number in range(kills - 2 * each):
        now = (number + rng.random()) / (kills - 2 * each) * ends[-1]
        stage = int(np.searchsorted(ends, now)) + 1
        since = now - max(last, ends[stage - 1] - seconds[stage - 1])
        killed.append(run_and_kill(words, lambda line, stage=stage: "skipped" not in line and at(line) >= stage, since))
        last = now
    for seen in ["INFO round 1: "] * each + ["INFO round 2 of 2"] * each:
        killed.append(run_and_kill(words, lambda line, seen=seen: seen in line, rng.uniform(0, 2)))
    assert killed[0] in (1, 2, 3) and killed[-2 * each :] == [4] * 2 * each, killed
    done = quick(*words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert rates(tmp_path / "mini") == rates(finished)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corpus", "nothing"], "no corpus 'nothing'"),
        (["--recipe", "nothing"], "no recipe 'nothing'"),
        (["--controls", "nothing"], "no control 'nothing'"),
        (["--stage", "9"], "stages are 1 to 7"),
        (["--wrong"], "--wrong"),
        (["--rounds", "0"], "whole number"),
        (["--corpus", "hsk", "--data", "/nowhere"], "/nowhere"),
        (["--stage", "4"], "run the stages before"),
        (["--", "rounds.cuont=1"], "rounds.cuont"),
        (["--", "preset=tiny"], "no preset"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, words, said):
    done = quick("run", "--exp", tmp_path / "exp", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--corpus", "hsk", "--data", "/nowhere"], ["--stage", "4"]])
def test_what_is_not_there_is_told_at_once(tmp_path, words):
    done = cycle("run", "--exp", tmp_path / "exp", *words, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 2 and not (tmp_path / "exp").exists()
    assert_light(done.stderr)


def test_no_gpu_is_told(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = quick("run", "--exp", tmp_path / "exp", "--device", "cuda", *SMOKE)
    assert done.returncode == 2 and done.stderr.startswith("error: --device cuda: no GPU was found")


def test_verbs_name_their_mistakes(finished, tmp_path):
    for words in (
        ["transcribe", tmp_path, "x.wav"],
        ["transcribe", finished, tmp_path / "missing.wav"],
        ["synthesize", finished, "ABC", "--out", tmp_path / "a.wav"],
        ["synthesize", finished, "我", "--spk", "nobody", "--out", tmp_path / "a.wav"],
        ["synthesize", finished, "我", "--round", "9", "--out", tmp_path / "a.wav"],
        ["compare", tmp_path],
        ["report", tmp_path],
        ["report", finished, finished],
        ["report", finished, "--style", "word"],
        ["check", tmp_path / "missing"],
        ["nonsense"],
    ):
        done = quick(*words)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr, (words, done.stderr)


def test_a_mistake_stands_alone_whatever_imports_say(tmp_path):
    done = cycle("run", "--exp", tmp_path / "exp", *SMOKE, "asr.conf.nonsense=1")  # which ESPnet is asked about
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "nonsense" in done.stderr and done.stderr.count("\n") == 1


def test_help_is_quick_and_names_the_options():
    start = time.monotonic()
    done = cycle("run", "--help")
    assert done.returncode == 0 and "--controls" in done.stdout and time.monotonic() - start < 5


@pytest.mark.all
@pytest.mark.parametrize("recipe", available("conf/recipes"))
def test_every_recipe_runs(tmp_path, recipe):
    done = cycle("run", "--exp", tmp_path / "mini", "--recipe", recipe, "--controls", "all", *SMOKE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {"baseline", recipe, "more_steps", "pseudo_only", "tts_only", "lm", "oracle"} == set(rates(tmp_path / "mini")["systems"])
