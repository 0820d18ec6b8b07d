"""Chinese glyphs: cut out, converted, the same bytes each time."""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from pathlib import Path

import matplotlib as mpl
import pytest
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib.figure import Figure

from cycle.eval import fonts
from cycle.eval.style import STYLES


def test_only_what_latin_fonts_lack() -> None:
    assert fonts.wide(["中国 zh ong1", "中", "→ ∅ é"]) == "中国"


def test_a_truetype_font_of_the_characters() -> None:
    name = fonts.family("中国")
    assert name and name == fonts.family("中国") != fonts.family("中")
    font = TTFont(font_manager.findfont(name, fallback_to_default=False))
    assert "glyf" in font and "CFF " not in font and {ord("中"), ord("国")} <= set(font.getBestCmap())
    outline = font["glyf"][font.getBestCmap()[ord("中")]]
    assert outline.numberOfContours > 1 and outline.xMax > outline.xMin


def test_the_page_gets_the_same_characters() -> None:
    data = fonts.web_font("中国")
    assert data and data[:4] == b"wOFF" and len(data) < 20_000
    assert {ord("中"), ord("国")} <= set(TTFont(io.BytesIO(data)).getBestCmap())


def test_a_character_that_the_font_lacks_is_no_accident() -> None:
    assert fonts.family("中한") and fonts.web_font("中한")


def test_nothing_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "source", lambda: None)
    assert fonts.family("文") is None and fonts.web_font("文") is None and fonts.family("") is None


@pytest.mark.parametrize("style", STYLES)
def test_chinese_is_drawn_and_embedded(style: str, tmp_path: Path) -> None:
    """The glyph is ink, not the box of a missing one; in the PDF it is text that can be found."""
    pictures = {}
    for text in ("中", "国"):
        with mpl.rc_context(STYLES[style].parameters(fonts.family("中国"))):
            canvas = Figure(figsize=(1, 1))
            canvas.text(0.2, 0.2, text, fontsize=40)
            canvas.savefig(tmp_path / f"{text}.png")
            canvas.savefig(tmp_path / f"{text}.pdf", metadata={"CreationDate": None})
        pictures[text] = (tmp_path / f"{text}.png").read_bytes()
        pdf = (tmp_path / f"{text}.pdf").read_bytes()
        assert b"CycleHan" in pdf and b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert pictures["中"] != pictures["国"]


def streams(pdf: bytes) -> list[bytes]:
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            found.append(zlib.decompress(stream))
    return found


def test_fonts_are_embedded_without_their_layout() -> None:
    """And look the same: the glyphs, their widths and places are. A ligature comes in a font of its own."""
    made = []
    with mpl.rc_context(STYLES["plain"].parameters(None)):
        canvas = Figure(figsize=(1, 1))
        canvas.text(0.1, 0.2, "AV fi")
        for inside in (fonts.without_layout(), contextlib.nullcontext()):
            with inside, io.BytesIO() as out:
                canvas.savefig(out, format="pdf", metadata={"CreationDate": None})
                made.append(streams(out.getvalue()))
    (drawn, *lean), (as_ever, *whole) = made
    assert drawn == as_ever
    cut = [TTFont(io.BytesIO(data)) for data in lean if data[:4] == b"\x00\x01\x00\x00"]
    uncut = [TTFont(io.BytesIO(data)) for data in whole if data[:4] == b"\x00\x01\x00\x00"]
    assert len(cut) == len(uncut) > 0 and any("GPOS" in font for font in uncut)
    for font, other in zip(cut, uncut, strict=True):
        assert not set(fonts.LAYOUT) & set(font.keys()) and font["hmtx"].metrics == other["hmtx"].metrics
        assert all(font["glyf"][name] == other["glyf"][name] for name in font.getGlyphOrder())
