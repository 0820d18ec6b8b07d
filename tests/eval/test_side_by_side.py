"""Recipes over seeds: Holm by hand, the bootstrap against its limits, and what is refused."""

import math

import numpy as np
import pytest

from cycle.errors import UserError
from cycle.eval.bootstrap import paired_p
from cycle.eval.side_by_side import holm, main, p_value, read, resampled, rows, seeds_p
from cycle.files import read_json, write_json


def test_holm_by_hand():
    # 0.01 * 3; then 0.02 * 2; then 0.03 * 1, which may not fall below the one before it
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_one_seed_is_the_bootstrap_over_utterances():
    rng = np.random.default_rng(0)
    a, b, refs = rng.integers(0, 3, 300), rng.integers(0, 3, 300), np.full(300, 4.0)
    mine, theirs = p_value(a[None].astype(float), b[None].astype(float), refs), paired_p(a, b, refs)
    assert mine == pytest.approx(theirs, abs=0.02)


def test_a_t_test_over_seeds_by_hand():
    """With three seeds t has two degrees of freedom, and p = 1 - t / sqrt(t^2 + 2)."""
    mine, theirs = np.array([[1.0, 2.0], [0.0, 2.0], [3.0, 1.0]]), np.array([[2.0, 2.0], [3.0, 1.0], [4.0, 3.0]])  # 1, 2, 3 fewer
    t = 2 / math.sqrt(1 / 3)
    assert seeds_p(mine, theirs) == pytest.approx(1 - t / math.sqrt(t**2 + 2)) == pytest.approx(seeds_p(theirs, mine))
    assert seeds_p(mine[:1], theirs[:1]) is None and seeds_p(mine, mine) is None


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
    table = rows({"supervised": by_seed(base), "mwer": by_seed(better)}, refs, "supervised")
    assert [row[0] for row in table] == ["mwer", "supervised"] and table[0][5] == "<0.001" and table[1][4] == "-"


def by_seed(errors):
    return dict(enumerate(errors, 1))


def experiment(folder, recipe, seed, errors, **others):
    systems = {recipe: errors, **others}
    write_json(folder / "summary.json", {"recipe": recipe, "seed": seed, "systems": {system: {} for system in systems}})
    for system, counts in systems.items():
        lines = ["utt\tspk\tsub\tins\tdel\tref", *(f"u{i}\ts\t{e}\t0\t0\t4" for i, e in enumerate(counts))]
        (folder / "score" / system).mkdir(parents=True)
        (folder / "score" / system / "per_utt.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_reading_and_the_table(tmp_path, capsys):
    folders = [experiment(tmp_path / f"{r}{s}", r, s, e) for r, s, e in
               (("mwer", 2, [0, 1]), ("mwer", 1, [1, 1]), ("supervised", 1, [2, 2]), ("supervised", 2, [4, 0]))]  # fmt: skip
    errors, utts, refs = read(folders)
    assert utts == ["u0", "u1"]
    assert {seed: row.tolist() for seed, row in errors["mwer"].items()} == {1: [1, 1], 2: [0, 1]} and refs.tolist() == [4, 4]
    main([*map(str, folders), "--against", "supervised"])
    printed = capsys.readouterr().out
    assert "| mwer | 2 | 18.75 |" in printed and "| supervised | 2 | 50.00 |" in printed and "+62.5" in printed


def test_a_recipe_with_fewer_seeds_is_compared_over_those_it_has(tmp_path):
    folders = [experiment(tmp_path / f"{r}{s}", r, s, e) for r, s, e in
               (("dpo", 2, [1, 1]), ("supervised", 1, [4, 4]), ("supervised", 2, [2, 2]))]  # fmt: skip
    errors, _, refs = read(folders)
    table = {row[0]: row for row in rows(errors, refs, "supervised")}
    assert table["dpo"][1:3] == ("1", "25.00") and table["supervised"][1:3] == ("2", "75.00")
    assert table["dpo"][4] == "+50.0"  # to seed 2 alone: 2 errors for 4


def test_a_recipe_of_an_easy_seed_is_not_above_what_beats_it(tmp_path):
    found = {("dpo", 2): [1, 2], ("mwer", 1): [3, 3], ("mwer", 2): [1, 1], ("supervised", 1): [4, 4], ("supervised", 2): [1, 1]}
    folders = [experiment(tmp_path / f"{r}{s}", r, s, e) for (r, s), e in found.items()]
    errors, _, refs = read(folders)
    table = rows(errors, refs, "supervised")
    assert [row[0] for row in table] == ["mwer", "supervised", "dpo"]
    assert [row[2] for row in table] == ["50.00", "62.50", "37.50"]  # whatever the rates say


def test_controls_over_seeds(tmp_path, capsys):
    folders = [experiment(tmp_path / str(s), "cycle", s, [s, 0], baseline=[4, s], lm=[3, s]) for s in (1, 2)]
    main([*map(str, folders), "--against", "cycle", "--controls"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in printed[2:]] == ["cycle", "lm", "baseline"]
    assert "| 2 | 68.75 |" in printed[-1]  # 4 + 1 + 4 + 2 of 16
    main([*map(str, folders), "--against", "cycle"])
    assert "baseline" not in capsys.readouterr().out


def test_mistakes_are_named(tmp_path):
    one, two = experiment(tmp_path / "a", "mwer", 1, [0, 1]), experiment(tmp_path / "b", "scst", 2, [0, 1])
    other = experiment(tmp_path / "c", "dpo", 1, [0, 1, 2])
    for words, said in (([one, two, "--against", "mwer"], "no seed in common"), ([one, one], "so has another"),
                        ([one, other], "other utterances"), ([one], "no recipe 'supervised'"),
                        ([tmp_path / "none"], "no finished experiment"), ([], "no experiments are named")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            main([str(w) for w in words])


def test_rows_of_several_sittings(tmp_path, capsys):
    """Experiments added one after the other make the table that all together make; one that comes again takes its own place."""
    found = {("mwer", 1): [1, 3], ("mwer", 2): [0, 1], ("supervised", 1): [4, 2], ("supervised", 2): [2, 1], ("self-play", 2): [2, 3]}
    folders = [experiment(tmp_path / f"{r}{s}", r, s, e) for (r, s), e in found.items()]
    main([str(f) for f in folders])
    whole, kept = capsys.readouterr().out, tmp_path / "kept" / "rows.tsv"
    kept.parent.mkdir()
    wrong = experiment(tmp_path / "wrong", "mwer", 1, [4, 4])
    main([str(folders[3]), str(folders[2]), str(wrong), "--rows", str(kept)])
    for folder in (folders[0], folders[1], folders[4]):
        main([str(folder), "--rows", str(kept)])
    capsys.readouterr()
    main(["--rows", str(kept)])
    assert capsys.readouterr().out == whole
    assert kept.read_text().splitlines()[:2] == [
        "utt\tref\tmwer-1\tmwer-2\tself-play-2\tsupervised-1\tsupervised-2",
        "u0\t4\t1\t0\t2\t4\t2",
    ]


def test_values_are_not_kept_as_errors(tmp_path):
    """Nothing in the table says which way is better."""
    folders = [experiment(tmp_path / r, r, 1, [1, 2]) for r in ("caption", "supervised")]
    for folder in folders:
        write_json(folder / "summary.json", {**read_json(folder / "summary.json"), "higher_is_better": True})
    with pytest.raises(UserError, match="keeps errors"):
        main([*map(str, folders), "--rows", str(tmp_path / "rows.tsv")])
    assert not (tmp_path / "rows.tsv").exists()


def test_mistakes_in_kept_rows_are_named(tmp_path):
    three, kept = experiment(tmp_path / "c", "supervised", 1, [0, 1, 2]), tmp_path / "rows.tsv"
    for text, said in (("utt\tref\tsupervised-1\nu0\t4\t1\nu1\t4\t1\n", "other utterances"), ("utt\tref\tmwer\n", "is no table"),
                       ("utt\tref\tmwer-1\nu0\t4\t1\nu1\t4\t1\nv2\t4\t1\n", "other utterances"),
                       ("utt\tref\tmwer-1\nu0\t4\tx\n", "line 2"), ("utt\tref\tmwer-1\nu0\t4\n", "line 2"),
                       ("", "cannot be read")):  # fmt: skip
        kept.write_text(text)
        with pytest.raises(UserError, match=said):
            main([str(three), "--rows", str(kept)])
        assert kept.read_text() == text
