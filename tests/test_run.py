"""What a run refuses before it touches anything, what a redo forgets, and who may work in an experiment."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

import cycle.run
from cycle import controls, stage
from cycle.__main__ import dispatch, main
from cycle.config import ROOT, load
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import read_json, write_json
from cycle.models.ngram import NGram
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
        (["--stage", "6", "--controls", "more_steps"], ["rounds.updates=3"], r"stage 4 \(rounds\).*rounds\.updates: 16 -> 3"),
        (["--stage", "6", "--controls", "lm"], ["seed=2"], r"stage 3 \(pretrain\).*seed: 1 -> 2"),
    ],
)
def test_what_would_not_fit_is_refused_and_nothing_is_touched(copy, words, settings, said):
    before = state(copy)
    with pytest.raises(UserError, match=said):
        run(copy, *words, settings=settings)
    assert state(copy) == before


def test_a_model_is_what_its_file_says(copy, tmp_path):
    """Not only the file that is named, but what is in it; a stamp of an earlier version held the name alone."""
    yaml = (ROOT / "conf/asr/conformer_tiny.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(yaml)
    settings = [*SMOKE[1:], f"asr.config={file}"]
    stamp = copy / "stamps/3_pretrain.json"
    was = read_json(stamp)
    begun = {k: v for k, v in was["settings"].items() if ".yaml." not in k}
    write_json(stamp, {**was, "settings": begun | {"asr.config": str(file)}})
    exp = Experiment(copy, load("mini", "cycle", settings), "mini", "cycle")
    stage.refuse_others(exp, 3)  # as it was
    write_json(stamp, {**was, "settings": stage.STAGES[2].settings(exp)})
    stage.refuse_others(exp, 3)
    assert "num_blocks: 2" in yaml
    file.write_text(yaml.replace("num_blocks: 2", "num_blocks: 3", 1))
    with pytest.raises(UserError, match=r"stage 3 \(pretrain\).*asr\.yaml\.[a-z]+_conf\.num_blocks: 2 -> 3; .*--stage 3 --redo"):
        stage.refuse_others(exp, 3)
    write_json(stamp, was)


def test_another_preset_is_named_first(copy):
    with pytest.raises(UserError, match=r"with other settings: preset: smoke -> cpu, so "):
        dispatch(["run", "--exp", str(copy), "--device", "cpu", "--", "preset=cpu"])


def test_a_control_of_ones_own_does_not_keep_all_from_the_others(monkeypatch):
    config = load("mini", "cycle", SMOKE[1:])
    monkeypatch.setattr(controls, "available", lambda folder: [*controls.NAMES, "mine", "fitting"])
    said = {"mine": {"rounds": {"objectives": {"asr_rdrop": {"weight": 0}}}}, "fitting": {"seed": 3}}
    monkeypatch.setattr(controls, "read_yaml", lambda path: said.get(path.stem, {}))
    assert controls.wanted("all", config) == [*controls.NAMES, "fitting"]
    assert controls.wanted(" lm , mine", config) == ["lm", "mine"]  # by name, its mistakes are told


def test_what_stays_is_not_looked_at_again(copy):
    """A checkpoint that is gone, batch systems that are elsewhere, how fast it was."""
    words = ["score", "--exp", str(copy), "--cluster", "slurm", "--redo", "--", "score.bootstrap=50", "asr.init=/nowhere/model.pth"]
    assert dispatch(words) == 0
    exp = Experiment(copy, load("mini", "cycle", ["preset=smoke", "graphs=true", "precision=bf16", "asr.conf.foo=null"]), "mini", "cycle")
    stage.refuse_others(exp, 7)


def test_scores_alone_are_of_what_is_there(copy, finished, capsys):
    """Whatever is said or left out: as it was made."""
    before = read_json(finished / "summary.json")
    for settings, told in (
        ([], []),
        (["score.bootstrap=50"], []),
        (["score.bootstrap=51", "seed=3", "run.workers=1"], ["seed: 3 says nothing to what was made with 1"]),
    ):
        capsys.readouterr()
        assert dispatch(["score", "--exp", str(copy), "--", *settings]) == 0
        assert re.findall("WARNING (.*)", capsys.readouterr().out) == told
        after = read_json(copy / "summary.json")
        assert (after["seed"], after["preset"]) == (before["seed"], before["preset"]) == (1, "smoke")
        assert settings or after["systems"] == before["systems"]  # intervals, too, by as many draws
    assert after["systems"]["cycle"]["ci95"] != before["systems"]["cycle"]["ci95"]
    assert "hop: 256" in (copy / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["--stage", "4", "--redo"], "the same command without --redo"),
        (["--stage", "4"], "the same command"),
        (["--stage", "5", "--redo"], "the same command"),
    ],
)
def test_an_interruption_says_how_to_go_on(copy, monkeypatch, capsys, words, again):
    """What a redo forgets it would forget again."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cycle.run, "redo", lambda *_: None)
    monkeypatch.setattr(cycle.run, "_run", interrupted)
    monkeypatch.setattr("sys.argv", ["cycle", "run", "--exp", str(copy), "--device", "cpu", *words, *SMOKE])
    assert main() == 130
    assert capsys.readouterr().err == f"interrupted; {again} goes on from here\n"


def test_rules_that_ask_the_judge_need_one():
    rule = "rounds.select_labels=[{rule: confidence, args: {keep: 0.5, by: tts}}]"
    cycle.run._check(load("mini", "cycle", [rule]), ["conf/recipes/cycle.yaml"])
    for words, control, place in (
        ([rule, "rounds.label.judged=0"], None, ""),
        ([rule], "pseudo_only", "conf/controls/pseudo_only.yaml:3: "),
    ):
        files = [*([f"conf/controls/{control}.yaml"] if control else []), "conf/recipes/cycle.yaml"]
        with pytest.raises(UserError, match=rf"^{place}rounds\.label\.judged: no label is judged, and rule 'confidence' selects by"):
            cycle.run._check(load("mini", "cycle", words, "cpu", control), files)


def test_what_is_made_on_the_spot_needs_a_size(tmp_path):
    for corpus, recipe, pool in (("mini", "cycle", "dev"), ("scenes", "caption", "test")):
        with pytest.raises(UserError, match=rf"pools\.{pool}: this corpus is made on the spot"):
            dispatch(["prepare", "--corpus", corpus, "--recipe", recipe, "--exp", str(tmp_path / corpus), "--", f"pools.{pool}=null"])


def test_there_may_be_a_hundred_rounds(tmp_path):
    exp = Experiment(tmp_path, load("mini", "cycle", []), "mini", "cycle")
    for number in (0, 9, 99, 100):
        exp.round(number).mkdir()
    (tmp_path / "round_07.tmp").mkdir()
    assert exp.rounds_done() == [0, 9, 99, 100]


@pytest.fixture
def two_trained(copy, monkeypatch):
    """Two controls are there, and what runs a stage stands aside; the names that are asked for."""
    (copy / "decode/lm").mkdir(exist_ok=True)
    for name, done in (("tts_only", True), ("oracle", False)):
        config = load("mini", "cycle", [*SMOKE[1:]], "cpu", name)
        settings = stage.STAGES[3].settings(controls.inside(Experiment(copy, config, "mini", "cycle"), name, config))
        write_json(copy / f"controls/{name}/stamps/4_rounds.json", {"done": done, "settings": settings})
    seen = []
    monkeypatch.setattr(controls, "run", lambda exp, names, *_: seen.append(names))
    for name in ("run", "refuse", "clear"):
        monkeypatch.setattr(stage, name, lambda *_: None)
    monkeypatch.setattr(cycle.run, "list_systems", lambda *_: None)
    shutil.copytree(copy / "decode", copy.parent / "decode")
    yield seen
    for folder in ("controls", "decode"):
        shutil.rmtree(copy / folder, ignore_errors=True)
    (copy.parent / "decode").rename(copy / "decode")


def test_what_is_trained_is_decoded_again(copy, two_trained):
    run(copy, "--stage", "5")
    run(copy, "--stage", "5", "--redo")
    run(copy, "--stage", "5", "--redo")  # also when the first call was interrupted: nothing has been decoded since
    run(copy, "--stage", "5", "--redo", "--controls", "more_steps,lm")
    assert two_trained == [[], ["tts_only", "lm"], ["tts_only", "lm"], ["more_steps", "lm", "tts_only"]]


def test_training_again_forgets_the_controls(copy, two_trained, monkeypatch):
    final = (copy / "final").readlink()
    run(copy, "--stage", "4", "--redo")
    assert two_trained == [[]] and not (copy / "controls").exists()
    (copy / "final").symlink_to(final)


def test_a_control_that_changed_is_refused_before_anything_is_forgotten(copy, two_trained):
    stamp = copy / "controls/tts_only/stamps/4_rounds.json"
    write_json(stamp, {"done": True, "settings": {**read_json(stamp)["settings"], "rounds.updates": 7}})
    before = state(copy)
    with pytest.raises(
        UserError,
        match=r"stage 4 \(rounds\) of tts_only was run with other settings: rounds\.updates: 7 -> 16; put them back, or remove .*tts_only",
    ):
        run(copy, "--stage", "5", "--redo")
    assert state(copy) == before


def test_the_first_rank_alone_needs_the_corpus(tmp_path, monkeypatch):
    exp = Experiment(tmp_path, load("hsk", "cycle", []), "hsk", "cycle", tmp_path / "nowhere")
    options = SimpleNamespace(stage=1, redo=False)
    with pytest.raises(UserError, match="no such folder"):
        cycle.run._refuse_missing(exp, options)
    monkeypatch.setattr(cycle.run, "rank", lambda: 1)
    cycle.run._refuse_missing(exp, options)


def test_ranks_leave_controls_alone(copy, two_trained, monkeypatch):
    monkeypatch.setattr(cycle.run, "ranks", lambda: (2, 2))
    before = state(copy)
    with pytest.raises(UserError, match=r"controls \(tts_only, lm\) train and are decoded in one process each; stage 5 .*redo it without"):
        run(copy, "--stage", "5", "--redo")
    with pytest.raises(UserError, match=r"controls \(oracle\) .* give them in a second call, without torchrun"):
        run(copy, "--controls", "oracle")
    assert state(copy) == before


@pytest.mark.all
def test_decoding_again_keeps_the_controls(copy):
    run(copy, "--controls", "lm,more_steps", "--stop-stage", "6")
    systems = set(read_json(copy / "summary.json")["systems"])
    assert systems == {"baseline", "cycle", "lm", "more_steps"}
    rounds = (copy / "controls/more_steps/rounds.json").stat().st_mtime_ns
    run(copy, "--stage", "5", "--stop-stage", "6", "--redo")
    assert set(read_json(copy / "summary.json")["systems"]) == systems
    assert (copy / "controls/more_steps/rounds.json").stat().st_mtime_ns == rounds  # decoded, not trained


def test_the_prior_chooses_as_it_does_for_scores(finished, tmp_path, capsys):
    exp = tmp_path / "mini"
    shutil.copytree(finished, exp, symlinks=True, ignore=shutil.ignore_patterns("report", "samples"))
    wavs = sorted(map(str, (exp / "corpus").glob("*.wav")))[:6]

    def said(**settings):
        config = yaml.safe_load((exp / "config.yaml").read_text())
        config["decode"] |= settings
        (exp / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        assert dispatch(["transcribe", str(exp), *wavs]) == 0
        return [line.partition("\t")[2].split() for line in capsys.readouterr().out.splitlines()]

    prior, plain = NGram.load(exp / "tokens/prior.json"), said()
    chosen = said(prior_weight=100.0)
    before, after = prior.logps(plain), prior.logps(chosen)
    assert (after >= before).all() and after.sum() > before.sum()
    assert len(said(prior_weight=0.0, tune=True)) == len(wavs)


def test_what_can_be_transcribed_is(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tone = np.sin(np.arange(16000) / 5).astype(np.float32)
    soundfile.write("good.wav", tone, 16000)
    soundfile.write("long.wav", np.tile(tone, 100), 16000)
    assert dispatch(["transcribe", str(finished), "none.wav", "good.wav", "long.wav"]) == 2
    out, err = capsys.readouterr()
    assert [line.partition("\t")[0] for line in out.splitlines()] == ["good.wav"]
    assert err.splitlines()[0] == "error: none.wav: no such recording"
    assert err.splitlines()[1].startswith("error: long.wav: is longer than 60 s, 3 times what the models have learnt from")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--exp", "README.md/x"], r"README\.md: is no folder"),
        (["--exp", ""], "--exp: is empty"),
        (["--data", ""], "--data: is empty"),
        (["--cluster", "slurm"], "sbatch is not there"),
        (["--", "rounds.select_labels=[{rule: nope}]"], "^rounds.select_labels: no selection rule 'nope'"),  # not the recipe's line
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


def test_a_control_says_what_it_speaks_of(tmp_path, monkeypatch):
    config = load("mini", "cycle", [])
    controls.check(config, "more_steps", "my.yaml")
    del config.rounds.objectives["asr_supervised"]
    controls.check(config, "more_steps", "my.yaml")
    config.rounds.objectives["mine"] = config.rounds.objectives.pop("tts_supervised")
    with pytest.raises(
        UserError, match=r"conf/recipes/my\.yaml: control more_steps trains asr_supervised and tts_supervised, and the recipe has"
    ):
        controls.check(config, "more_steps", "conf/recipes/my.yaml")
    controls.check(config, "lm", "my.yaml")
    (tmp_path / "conf/controls").mkdir(parents=True)
    (tmp_path / "conf/controls/own.yaml").write_text("rounds: {objectives: {mine: {weight: 2.0}, '*': {weight: 0.0}}}\n")
    monkeypatch.setattr(controls, "ROOT", tmp_path)
    controls.check(config, "own", "my.yaml")


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
    assert process.stdout is not None and process.stdout.read(12).count(b"begun") == 2  # however their lines mix
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


@pytest.mark.all
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
        (["transcribe", "EXP", "."], r"^\.: is a folder"),
        (["run", "seed=2"], r"unrecognized arguments: seed=2; settings come last, behind --: -- seed=2"),
        (["run", "--seed", "2", "--preset=x"], r"--preset=x; settings come last, behind --: -- seed=2"),
        (["run", "--corp", "mini"], r"unrecognized arguments: --corp mini; see"),
        (["transcribe", "EXP", "nan.wav", "--search", "joint", "--ctc-weight", "nan"], "must be a number from 0 to 1"),
        (["transcribe", "EXP", "CORPUS", "--ctc-weight", "0.5"], "--ctc-weight says nothing to the search ctc_beam; add --search joint"),
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
        wav = next((finished / "corpus").glob("*.wav"))
        dispatch([{"EXP": str(finished), "TEXT": text, "CORPUS": str(wav)}.get(w, w) for w in words])
    assert [p.name for p in tmp_path.iterdir()] == ["nan.wav"]
