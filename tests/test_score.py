"""Stage 6: the numbers, the files, what is missing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cycle import score
from cycle.data.text import spelling
from cycle.errors import UserError
from cycle.files import read_json, write_json, write_jsonl
from tests.fake_experiment import decoded, experiment, utterances

LANGUAGE = spelling("cmn")


def one_set(exp_path: Path, system: str, pairs: list[tuple[str, str]]) -> None:
    rows = [{"utt": f"u{i}", "spk": "s", "text": f"文{i}", "ref": ref, "hyp": hyp} for i, (ref, hyp) in enumerate(pairs)]
    write_jsonl(exp_path / "decode" / system / "test.jsonl", rows)
    write_json(exp_path / "decode" / "systems.json", {"systems": ["baseline"], "seconds": 3})


def test_worked_by_hand(tmp_path: Path) -> None:
    """Three syllables against: a wrong tone, a wrong initial (two tokens right of each pair), one too many; then one lost."""
    one_set(tmp_path, "baseline", [("n i3 h ao3", "n i2 m ao3 a1"), ("r en2", "")])
    summary = score.score(experiment(tmp_path), LANGUAGE)
    entry = summary["systems"]["baseline"]
    assert (entry["errors"], entry["ref"], entry["rate"]) == (4, 3, round(4 / 3, 6))
    assert (entry["sub"], entry["ins"], entry["del"], entry["utterances"]) == (2, 1, 1, 2)
    assert (entry["rates"]["token"]["errors"], entry["rates"]["token"]["ref"]) == (5, 6)
    assert (entry["rates"]["toneless"]["errors"], entry["rates"]["toneless"]["ref"]) == (3, 3)
    assert (
        tmp_path / "score" / "baseline" / "per_utt.tsv"
    ).read_text() == "utt\tspk\tsub\tins\tdel\tref\nu0\ts\t2\t1\t0\t2\nu1\ts\t0\t0\t1\t1\n"


def test_summary_keeps_the_contract(tmp_path: Path) -> None:
    exp = decoded(tmp_path, ("baseline", "cycle", "oracle"))
    score.score(exp, LANGUAGE)
    summary = json.loads(exp.summary.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    wanted = {"corpus", "recipe", "metric", "higher_is_better", "seconds", "device", "seed", "preset", "systems", "rounds"}
    assert wanted | {"relative_reduction", "gap_recovered"} <= summary.keys()
    assert (summary["corpus"], summary["recipe"], summary["preset"]) == ("mini", "cycle", "smoke")
    assert (summary["metric"], summary["higher_is_better"], summary["seconds"], summary["seed"]) == ("syllable_error_rate", False, 12.5, 1)
    assert list(summary["systems"]) == ["baseline", "cycle", "oracle"] and len(summary["rounds"]) == 3
    for entry in summary["systems"].values():
        assert entry["rate"] == pytest.approx(entry["errors"] / entry["ref"], abs=1e-6)
        assert 0 <= entry["ci95"][0] <= entry["rate"] <= entry["ci95"][1]
        assert set(entry["rates"]) == {"syllable", "token", "toneless"} and entry["dev"]["ref"] < entry["ref"]
    baseline, cycle, oracle = (summary["systems"][name]["rate"] for name in ("baseline", "cycle", "oracle"))
    assert summary["relative_reduction"] == pytest.approx(1 - cycle / baseline, abs=1e-5)
    assert summary["gap_recovered"] == pytest.approx((baseline - cycle) / (baseline - oracle), abs=1e-5)


def test_counts_add_up_over_the_files(tmp_path: Path) -> None:
    exp = decoded(tmp_path)
    summary = score.score(exp, LANGUAGE)
    for system, entry in summary["systems"].items():
        with open(exp.scores / system / "per_utt.tsv", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        for column in ("sub", "ins", "del", "ref"):
            assert sum(int(row[column]) for row in rows) == entry[column]
        rates = read_json(exp.scores / system / "rates.json")
        assert rates == entry["rates"] and rates["syllable"]["errors"] == entry["errors"]


def test_error_file_shows_worst_first(tmp_path: Path) -> None:
    one_set(tmp_path, "baseline", [("n i3", "n i3"), ("zh ong1 r en2", "z ong1 r en2"), ("n i3 h ao3", "a1 h ao1")])
    score.score(experiment(tmp_path), LANGUAGE)
    text = (tmp_path / "score" / "baseline" / "errors.txt").read_text()
    assert "2 of 3 utterances have some" in text
    assert text.index("u2  s  2 of 2  文2") < text.index("u1  s  1 of 2  文1") and "u0" not in text
    assert "  ref  zhong1 ren2\n  hyp  zong1  ren2\n       S\n" in text
    assert "     1  zhong1 > zong1\n" in text


def test_without_oracle_and_without_baseline(tmp_path: Path) -> None:
    summary = score.score(decoded(tmp_path / "a"), LANGUAGE)
    assert summary["gap_recovered"] is None and summary["relative_reduction"] > 0
    summary = score.score(decoded(tmp_path / "b", ("cycle",)), LANGUAGE)
    assert summary["relative_reduction"] is None and summary["missing"] == {"baseline": "no decodings"}


def test_other_recipes_and_missing_controls(tmp_path: Path) -> None:
    exp = decoded(tmp_path, ("baseline", "mwer"), recipe="mwer")
    write_json(tmp_path / "decode" / "systems.json", {"systems": ["baseline", "mwer", "lm"], "seconds": 1})
    summary = score.score(exp, LANGUAGE)
    assert list(summary["systems"]) == ["baseline", "mwer"] and summary["missing"] == {"lm": "no decodings"}
    assert summary["relative_reduction"] is not None


def test_a_system_that_lacks_utterances_is_not_scored(tmp_path: Path) -> None:
    """Otherwise dropping the hardest utterances would look like learning."""
    exp = decoded(tmp_path, ("baseline", "cycle", "more_steps"))
    write_jsonl(exp.decoded("more_steps") / "test.jsonl", utterances(59, 0.0, 0))
    summary = score.score(exp, LANGUAGE)
    assert list(summary["systems"]) == ["baseline", "cycle"]
    assert summary["missing"] == {"more_steps": "its 59 utterances are not the 60 of the test set"}
    assert not (exp.scores / "more_steps").exists()


def test_nothing_decoded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stage 5"):
        score.score(experiment(tmp_path), LANGUAGE)
    write_json(tmp_path / "decode" / "systems.json", {"systems": ["baseline", "cycle"], "seconds": 1})
    with pytest.raises(UserError, match="stage 5"):
        score.score(experiment(tmp_path), LANGUAGE)
    assert not (tmp_path / "score").exists() and not (tmp_path / "summary.json").exists()


def test_empty_references(tmp_path: Path) -> None:
    one_set(tmp_path, "baseline", [("", "n i3")])
    with pytest.raises(UserError, match="empty"):
        score.score(experiment(tmp_path), LANGUAGE)
    assert not (tmp_path / "score").exists()


def test_nan_becomes_null(tmp_path: Path) -> None:
    exp = decoded(tmp_path)
    write_json(tmp_path / "decode" / "rounds.json", [{"round": 0, "asr_dev": float("nan"), "asr_test": float("inf")}])
    assert score.score(exp, LANGUAGE)["rounds"] == [{"round": 0, "asr_dev": None, "asr_test": None}]


def test_gap_and_reduction() -> None:
    assert score.relative_reduction(0.4, 0.1) == 0.75 and score.relative_reduction(0.2, 0.3) == -0.5
    assert score.relative_reduction(0.0, 0.1) is None and score.relative_reduction(None, 0.1) is None
    assert score.gap_recovered(0.5, 0.2, 0.1) == 0.75 and score.gap_recovered(0.5, 0.2, 0.5) is None


def test_scores_again_the_same_and_leaves_nothing_stale(tmp_path: Path) -> None:
    exp = decoded(tmp_path, ("baseline", "cycle", "oracle"))
    first = score.score(exp, LANGUAGE)
    assert score.score(exp, LANGUAGE) == first
    for set_name in ("test", "dev"):
        (exp.decoded("oracle") / f"{set_name}.jsonl").unlink()
    score.main(exp)
    assert not (exp.scores / "oracle").exists() and "oracle" not in read_json(exp.summary)["systems"]


@pytest.mark.parametrize("module", ["cycle.score", "cycle.compare", "cycle.report"])
def test_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'espnet2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_rate_without_what_training_shares(tmp_path: Path) -> None:
    one_set(tmp_path, "baseline", [("n i3 h ao3", "n i2 h ao3"), ("r en2", ""), ("h ao3", "h ao3")])
    exp = experiment(tmp_path)
    assert "unshared" not in score.score(exp, LANGUAGE)["systems"]["baseline"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/shared.tsv").write_text("set\tutt\tshared\ndev\tu0\ttext\ntest\tu1\ttext and speaker\n")
    entry = score.score(exp, LANGUAGE)["systems"]["baseline"]
    assert (entry["errors"], entry["ref"]) == (2, 4)
    assert {key: entry["unshared"][key] for key in ("errors", "ref", "utterances")} == {"errors": 1, "ref": 3, "utterances": 2}
    (tmp_path / "data/shared.tsv").write_text("set\tutt\tshared\n" + "".join(f"test\tu{n}\tspeaker\n" for n in range(3)))
    assert score.score(exp, LANGUAGE)["systems"]["baseline"]["unshared"] is None
