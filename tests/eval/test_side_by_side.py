"""Recipes over seeds: Holm by hand, the bootstrap against its limits, and what is refused."""

import numpy as np
import pytest

from cycle.errors import UserError
from cycle.eval.bootstrap import paired_p
from cycle.eval.side_by_side import holm, main, p_value, read, resampled, rows
from cycle.files import write_json


def test_holm_by_hand():
    # 0.01 * 3; then 0.02 * 2; then 0.03 * 1, which may not fall below the one before it
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_one_seed_is_the_bootstrap_over_utterances():
    rng = np.random.default_rng(0)
    a, b, refs = rng.integers(0, 3, 300), rng.integers(0, 3, 300), np.full(300, 4.0)
    mine, theirs = p_value(a[None].astype(float), b[None].astype(float), refs), paired_p(a, b, refs)
    assert mine == pytest.approx(theirs, abs=0.02)


def test_seeds_are_drawn_too():
    """Utterances all alike, seeds that differ: the spread is that of the mean of S drawn seeds."""
    errors = np.array([[1.0] * 50, [3.0] * 50])
    rates = resampled(errors, np.full(50, 10.0))
    values, counts = np.unique(rates.round(6), return_counts=True)
    assert values.tolist() == [0.1, 0.2, 0.3] and counts / counts.sum() == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_a_clear_difference_is_seen_and_none_is_not():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 4, (3, 400)).astype(float)
    better = np.maximum(0, base - rng.integers(0, 2, (3, 400)))
    refs = np.full(400, 5.0)
    assert p_value(better, base, refs) < 0.001 and p_value(base, base, refs) == 1.0
    table = rows({"supervised": base, "mwer": better}, refs, "supervised")
    assert [row[0] for row in table] == ["mwer", "supervised"] and table[0][5] == "<0.001" and table[1][4] == "-"


def experiment(folder, recipe, seed, errors):
    write_json(folder / "summary.json", {"recipe": recipe, "seed": seed})
    lines = ["utt\tspk\tsub\tins\tdel\tref", *(f"u{i}\ts\t{e}\t0\t0\t4" for i, e in enumerate(errors))]
    (folder / "score" / recipe).mkdir(parents=True)
    (folder / "score" / recipe / "per_utt.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_reading_and_the_table(tmp_path, capsys):
    folders = [experiment(tmp_path / f"{r}{s}", r, s, e) for r, s, e in
               (("mwer", 2, [0, 1]), ("mwer", 1, [1, 1]), ("supervised", 1, [2, 2]), ("supervised", 2, [4, 0]))]  # fmt: skip
    errors, refs = read(folders)
    assert errors["mwer"].tolist() == [[1, 1], [0, 1]] and errors["supervised"].tolist() == [[2, 2], [4, 0]] and refs.tolist() == [4, 4]
    main([*map(str, folders), "--against", "supervised"])
    printed = capsys.readouterr().out
    assert "| mwer | 2 | 18.75 |" in printed and "| supervised | 2 | 50.00 |" in printed and "+62.5" in printed


def test_mistakes_are_named(tmp_path):
    one, two = experiment(tmp_path / "a", "mwer", 1, [0, 1]), experiment(tmp_path / "b", "scst", 2, [0, 1])
    other = experiment(tmp_path / "c", "dpo", 1, [0, 1, 2])
    for words, said in (([one, two], "seeds"), ([one, other], "other utterances"), ([one], "no recipe 'supervised'"),
                        ([tmp_path / "none"], "no finished experiment"), ([], "EXP")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            main([str(w) for w in words])
