"""Captioning as a user runs it: every stage on `scenes`, what comes out, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import SMOKE, cycle, quick

RECIPES = ("caption", "caption_dpo", "scheduled_sampling")


def run(exp: Path, recipe: str, *words: str) -> dict:
    done = cycle("run", "--corpus", "scenes", "--exp", exp, "--recipe", recipe, *words, *SMOKE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((exp / "summary.json").read_text())


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("captions") / "scenes"
    run(exp, "caption_scst", "--controls", "lm")
    return exp


def test_every_stage_of_captioning(captioned: Path) -> None:
    summary = json.loads((captioned / "summary.json").read_text())
    assert (summary["metric"], summary["higher_is_better"], summary["missing"]) == ("cider_d", True, {})
    assert set(summary["systems"]) == {"baseline", "caption_scst", "lm"}
    for entry in summary["systems"].values():
        assert entry["n"] == 24 and entry["ci95"][0] <= entry["value"] <= entry["ci95"][1] and entry["shape"]["distinct"] >= 1
    assert [row["round"] for row in summary["rounds"]] == [0, 1, 2] and all("tts_intelligibility" not in r for r in summary["rounds"])
    assert (captioned / "report/report.html").is_file()
    for folder in ("round_00", "round_02"):
        assert [p.name for p in sorted((captioned / folder).iterdir()) if p.is_dir()] == ["asr"]
    assert not (captioned / "aligner").exists() and not (captioned / "judge").exists()
    rows = [json.loads(line) for line in (captioned / "decode/caption_scst/test.jsonl").read_text().splitlines()]
    assert all(len(row["refs"]) == 5 for row in rows)


def test_a_finished_experiment_is_skipped_checked_and_used(captioned: Path) -> None:
    again = quick("run", "--corpus", "scenes", "--exp", captioned, "--recipe", "caption_scst", *SMOKE)
    assert again.returncode == 0 and again.stdout.count("finished, skipped") == 7
    assert quick("check", captioned).returncode == 0
    wav = next((captioned / "corpus" / "test").glob("*.wav"))
    said = quick("transcribe", captioned, wav, "--search", "attention", "--beam", "2")
    assert said.returncode == 0 and said.stdout.startswith(f"{wav}\t")
    table = quick("compare", captioned)
    assert table.returncode == 0 and "cider_d" in table.stdout
    cost = quick("bench", "reward", captioned, "--steps", "3", "--device", "cpu")
    assert cost.returncode == 0 and "% (3 steps" in cost.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["transcribe", "EXP", "WAV", "--search", "ctc_beam"], "there is no CTC branch"),
        (["synthesize", "EXP", "a dog", "--out", "x.wav"], "has no synthesiser"),
        (["bench", "train", "EXP", "--device", "cpu"], "has no synthesiser"),
        (["run", "--corpus", "scenes", "--exp", "NEW", "--recipe", "cycle", *SMOKE], "needs a synthesiser"),
        (["run", "--corpus", "scenes", "--exp", "NEW", "--recipe", "caption", *SMOKE, "decode.method=ctc_beam"], "no CTC branch"),
        (["run", "--corpus", "scenes", "--exp", "NEW", *SMOKE, "models=[tts]"], "models: ['tts']"),
    ],
)
def test_what_needs_another_model_is_refused(captioned: Path, tmp_path: Path, words: list[str], said: str) -> None:
    places = {"EXP": captioned, "WAV": next((captioned / "corpus" / "test").glob("*.wav")), "NEW": tmp_path / "new"}
    done = quick(*(places.get(word, word) for word in words))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.all
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_caption_recipe_runs(tmp_path: Path, recipe: str) -> None:
    assert {"baseline", recipe, "more_steps"} == set(run(tmp_path / "scenes", recipe, "--controls", "more_steps")["systems"])


@pytest.mark.all
def test_the_greedy_baseline(tmp_path: Path) -> None:
    done = cycle("run", "--corpus", "scenes", "--exp", tmp_path / "s", "--recipe", "caption_scst", *SMOKE,
                 "rounds.objectives.asr_scst.args.baseline=greedy")  # fmt: skip
    assert done.returncode == 0, done.stderr
