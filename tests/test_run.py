"""What a run refuses before it touches anything, what a redo forgets, and who may work in an experiment."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import cycle.run
from cycle import controls, stage
from cycle.__main__ import dispatch
from cycle.config import ROOT, load
from cycle.errors import UserError
from cycle.files import read_json
from cycle.run import lock
from tests.command import SMOKE


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("copy") / "mini"
    shutil.copytree(finished, path, symlinks=True)
    return path


def run(exp, *words, settings=()):
    return dispatch(["run", "--exp", str(exp), "--device", "cpu", *words, *SMOKE, *settings])


def state(exp):
    return {p: p.stat().st_mtime_ns for p in exp.rglob("*") if p.is_file() and p.name not in (".lock", "run.log")}


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (
            ["--stage", "5", "--stop-stage", "5"],
            ["features.hop=128"],
            r"stage 1 \(prepare\) was run with other .*features\.hop: 256 -> 128",
        ),
        (["--stage", "4", "--redo"], ["pools.paired=7"], r"stage 1 \(prepare\).*pools\.paired: 40 -> 7; .*--stage 1 --redo"),
        (["--stage", "3", "--redo"], ["prior.order=2"], r"stage 2 \(tokens\).*prior\.order: 6 -> 2"),
        (["--stage", "5", "--redo"], ["decode.beam=4"], r"stage 4 \(rounds\).*decode\.beam: 8 -> 4"),
        (["--stop-stage", "3"], ["rounds.updates=3"], r"stage 4 \(rounds\).*rounds\.updates: 16 -> 3"),
        (["--stop-stage", "3"], ["asr.conf.encoder_conf.num_blocks=3"], r"asr\.conf\.encoder_conf\.num_blocks: \(none\) -> 3"),
        (["--recipe", "dpo"], [], "holds an experiment of recipe cycle, not dpo; name another folder"),
        (["--recipe", "dpo", "--stage", "5", "--redo"], [], "holds an experiment of recipe cycle"),
        (["--corpus", "scenes", "--recipe", "caption"], [], "holds an experiment of corpus mini, not scenes"),
        (["--stage", "6", "--stop-stage", "3", "--redo"], [], "--stage 6 lies behind --stop-stage 3"),
    ],
)
def test_what_would_not_fit_is_refused_and_nothing_is_touched(copy, words, settings, said):
    before = state(copy)
    with pytest.raises(UserError, match=said):
        run(copy, *words, settings=settings)
    assert state(copy) == before


def test_scores_alone_may_be_made_with_what_is_there(copy):
    assert dispatch(["score", "--exp", str(copy), "--", "score.bootstrap=50"]) == 0
    assert "hop: 256" in (copy / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--stage", "5", "--redo"], ["tts_only", "lm"]),
        (["--stage", "5", "--redo", "--controls", "tts_only,oracle"], ["tts_only", "oracle", "lm"]),
        (["--stage", "5"], []),
        (["--stage", "4", "--redo"], []),  # forgotten
    ],
)
def test_what_was_decoded_is_decoded_again(copy, monkeypatch, words, wanted):
    for name in ("tts_only", "lm"):
        (copy / "decode" / name).mkdir(exist_ok=True)
        (copy / "decode" / name / "test.jsonl").touch()
    seen = []
    monkeypatch.setattr(controls, "run", lambda exp, names, *_: seen.append(names))
    for name in ("run", "refuse"):
        monkeypatch.setattr(stage, name, lambda *_: None)
    for name in ("redo", "list_systems"):
        monkeypatch.setattr(cycle.run, name, lambda *_: None)
    try:
        run(copy, *words)
    finally:
        for name in ("tts_only", "lm"):
            shutil.rmtree(copy / "decode" / name)
    assert seen == [wanted]


@pytest.mark.all
def test_decoding_again_keeps_the_controls(copy):
    run(copy, "--controls", "lm,more_steps", "--stop-stage", "6")
    systems = set(read_json(copy / "summary.json")["systems"])
    assert systems == {"baseline", "cycle", "lm", "more_steps"}
    rounds = (copy / "controls/more_steps/rounds.json").stat().st_mtime_ns
    run(copy, "--stage", "5", "--stop-stage", "6", "--redo")
    assert set(read_json(copy / "summary.json")["systems"]) == systems
    assert (copy / "controls/more_steps/rounds.json").stat().st_mtime_ns == rounds  # decoded, not trained


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--exp", "README.md/x"], r"README\.md: is no folder"),
        (["--exp", ""], "--exp: is empty"),
        (["--data", ""], "--data: is empty"),
        (["--cluster", "slurm"], "sbatch is not there"),
        (["--", "asr.conf.encoder=foo"], "ESPnet cannot build this model"),
        (
            ["--", "rounds.objectives.asr_supervised.mix={text: 1}"],
            r"conf/recipes/cycle\.yaml:6: rounds\.objectives\.asr_supervised\.mix: it has no",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=said):
        dispatch(["run", *([] if "--exp" in words else ["--exp", str(tmp_path / "exp")]), *words])
    assert not list(tmp_path.iterdir())


def test_a_control_says_what_it_speaks_of():
    config = load("mini", "cycle", [])
    controls.check(config, "more_steps", "cycle")
    del config.rounds.objectives["asr_supervised"]
    controls.check(config, "more_steps", "cycle")
    del config.rounds.objectives["tts_supervised"]
    with pytest.raises(
        UserError, match=r"conf/recipes/mine\.yaml: control more_steps trains asr_supervised and tts_supervised, and the recipe has"
    ):
        controls.check(config, "more_steps", "mine")


ORPHANS = """
import signal, sys
from pathlib import Path
from types import SimpleNamespace
from cycle import controls
from cycle.run import lock
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background takes away
held = lock(Path(sys.argv[1]))
controls._command = lambda name: [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
exp = SimpleNamespace(config=SimpleNamespace(models=["asr"]), path=Path(sys.argv[1]))
try:
    controls.run(exp, ["a", "b"], 2, None, held)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def two_controls(tmp_path):
    """A run whose controls are at work in processes of their own."""
    process = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert process.stdout is not None and [process.stdout.readline() for _ in range(2)] == [b"begun\n"] * 2
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_controls_keep_others_out_when_their_run_dies(tmp_path, two_controls):
    two_controls.kill()
    two_controls.wait()
    with pytest.raises(UserError, match="another run is at work here"):
        lock(tmp_path)
    os.killpg(two_controls.pid, signal.SIGKILL)
    for _ in range(100):
        try:
            lock(tmp_path).close()
            return
        except UserError:
            time.sleep(0.1)
    pytest.fail("nobody is at work any more, and the folder is still locked")


def test_controls_end_with_their_run(tmp_path, two_controls):
    two_controls.send_signal(signal.SIGINT)  # to it alone
    assert two_controls.wait(timeout=60) == 130
    lock(tmp_path).close()


def test_a_batch_systems_signal_is_an_interruption(tmp_path):
    code = "import os, signal, cycle.__main__ as m; m.dispatch = lambda w: os.kill(os.getpid(), signal.SIGTERM); raise SystemExit(m.main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 130 and done.stderr == "interrupted; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["transcribe", "EXP", "nan.wav"], r"nan\.wav: holds samples that are not numbers"),
        (["transcribe", "EXP", "nan.wav", "--search", "joint", "--ctc-weight", "nan"], "must be a number from 0 to 1"),
        (["synthesize", "EXP", "TEXT", "--out", "."], "is a folder"),
        (["synthesize", "EXP", "TEXT", "--out", "a.mp3"], r"a\.mp3: would hold what \.wav files hold; name it a\.wav"),
        (["synthesize", "EXP", "TEXT", "--out", "nowhere/a.wav"], "nowhere: no such folder"),
        (["synthesize", "EXP", "TEXT", "--out", "a.wav", "--feats", "a.txt"], r"name it a\.npy"),
        (["synthesize", "EXP", "TEXT", "--out", "a.wav", "--feats", "nowhere/a.npy"], "nowhere: no such folder"),
    ],
)
def test_files_that_cannot_be_are_told(finished, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    soundfile.write("nan.wav", np.full(8000, np.nan, np.float32), 16000, subtype="FLOAT")
    text = (finished / "data/test/tokens").read_text().splitlines()[0].split(maxsplit=1)[1]
    with pytest.raises(UserError, match=said):
        dispatch([str(finished) if w == "EXP" else text if w == "TEXT" else w for w in words])
    assert [p.name for p in tmp_path.iterdir()] == ["nan.wav"]
