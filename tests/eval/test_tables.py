"""Tables and aligned text: columns hold, with Chinese in them too."""

from __future__ import annotations

from cycle.eval import align_text, tables
from cycle.eval.errors import align


def test_wide_characters_take_two_columns() -> None:
    assert align_text.width("中a1") == 4 and align_text.width("e\u0301") == 1
    assert align_text.pad("中", 4) == "中  " and align_text.pad("ab", 4, right=True) == "  ab"


def test_alignment_worked_by_hand() -> None:
    assert align_text.lines(align(["zhong1", "guo2", "ren2"], ["zong1", "guo2", "ren2", "a5"])) == (
        "zhong1 guo2 ren2 **",
        "zong1  guo2 ren2 a5",
        "S                I",
    )
    assert align_text.lines(align(["中", "b"], ["b"])) == ("中 b", "** b", "D")
    assert align_text.lines([]) == ("", "", "")


def test_confusions_are_ranked_and_stable() -> None:
    pairs = [("a b", "a c"), ("b", "c"), ("d", ""), ("", "e"), ("x", "x")]
    assert align_text.confusions(align(r.split(), h.split()) for r, h in pairs) == [(2, "b", "c"), (1, "*", "e"), (1, "d", "*")]


def test_plain_and_markdown() -> None:
    header, rows = ("system", "error %"), [("汉语", "5.0"), ("a|b", "12.5")]
    assert tables.plain(header, rows) == "system  error %\n------  -------\n汉语        5.0\na|b        12.5\n"
    assert tables.markdown(header, rows) == "| system | error % |\n| --- | ---: |\n| 汉语 | 5.0 |\n| a\\|b | 12.5 |\n"


def test_numbers() -> None:
    assert tables.percent(0.2647) == "26.5" and tables.percent(None) == "-"
    assert tables.signed_percent(-0.05) == "-5.0" and tables.signed_percent(0.41) == "+41.0"
    assert tables.span((0.245, 0.285)) == "24.5 to 28.5" and tables.span(None) == "-"
    assert [tables.p_value(p) for p in (0.0002, 0.0314, None)] == ["<0.001", "0.031", "-"]
