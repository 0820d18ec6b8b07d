"""Glyphs that no machine can be relied on to have: the Chinese characters of a report, cut out of Noto Sans SC.

Publishers want TrueType outlines and Noto's are PostScript's, so the few glyphs that a report shows are converted. The page gets the
same glyphs as a web font. Equal characters give equal bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

FAMILY = "Cycle Han"
FIRST = 0x2E80  # below it the Latin fonts have what we write
PACKAGE, FILE = "pylopdf_fonts_zh_cn", "NotoSansSC-Regular.otf"
ERROR = 1.0  # units of 1000 that a converted curve may stray
LAYOUT = ["GDEF", "GPOS", "GSUB", "MATH", "kern"]


def wide(texts: Iterable[str]) -> str:
    """The characters of some texts that the Latin fonts lack, each once, sorted."""
    return "".join(sorted(char for char in set().union(*texts) if ord(char) >= FIRST and char.isprintable()))


def source() -> Path | None:
    """Where the whole font lies; None where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    file = Path(found.origin).parent / FILE if found and found.origin else None
    return file if file and file.is_file() else None


@cache
def family(chars: str) -> str | None:
    """Makes matplotlib know a TrueType font of these characters; returns its family, None where the source is not installed."""
    file = source()
    if not chars or file is None:
        return None
    from matplotlib import font_manager

    name = f"{FAMILY} {hashlib.sha256(chars.encode()).hexdigest()[:8]}"
    font = _subset(file, chars, name)
    _outlines(font)
    folder = Path(_folder().name)
    font.save(folder / f"{name}.ttf")
    font_manager.fontManager.addfont(folder / f"{name}.ttf")
    return name


@cache
def web_font(chars: str) -> bytes | None:
    """The same characters as a WOFF file for a page."""
    file = source()
    if not chars or file is None:
        return None
    font, out = _subset(file, chars, FAMILY), io.BytesIO()
    font.flavor = "woff"
    font.save(out)
    return out.getvalue()


@contextmanager
def without_layout() -> Iterator[None]:
    """Fonts that matplotlib embeds meanwhile come without the tables that lay text out, which take three quarters of the time.

    In a PDF every glyph has its place. matplotlib lets nobody choose the tables, so it is fontTools's defaults that change.
    """
    from fontTools.subset import Options

    kept = Options._drop_tables_default
    Options._drop_tables_default = [*kept, *LAYOUT]
    try:
        yield
    finally:
        Options._drop_tables_default = kept


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Holds the fonts as long as the process lives: matplotlib opens them again and again."""
    return tempfile.TemporaryDirectory(prefix="cycle-fonts-")


def _subset(file: Path, chars: str, name: str) -> Any:
    """An open font of some characters under a name of its own."""
    from fontTools import subset

    options = subset.Options(layout_features=[], name_IDs=[1, 2, 4, 6], notdef_outline=True, hinting=False, desubroutinize=True)
    font = subset.load_font(str(file), options, lazy=True)
    font.recalcTimestamp = False  # no dates
    cutter = subset.Subsetter(options)
    cutter.populate(text=chars + " ")
    cutter.subset(font)
    for record in font["name"].names:
        said = {1: name, 2: "Regular", 4: name, 6: name.replace(" ", "")}[record.nameID]
        record.string = said
    return font


def _outlines(font: Any) -> None:
    """Turns PostScript's cubic outlines into TrueType's quadratic ones, in place."""
    from fontTools.pens.cu2quPen import Cu2QuPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from fontTools.ttLib import newTable

    glyphs, order = font.getGlyphSet(), font.getGlyphOrder()
    drawn = {}
    for glyph in order:
        pen = TTGlyphPen(glyphs)
        glyphs[glyph].draw(Cu2QuPen(pen, ERROR, reverse_direction=True))
        drawn[glyph] = pen.glyph()
    font["loca"] = newTable("loca")
    font["glyf"] = table = newTable("glyf")
    table.glyphOrder, table.glyphs = order, drawn
    font.recalcBBoxes = True
    for glyph, outline in drawn.items():  # the side bearing is where the outline begins
        outline.recalcBounds(table)
        font["hmtx"][glyph] = (font["hmtx"][glyph][0], getattr(outline, "xMin", 0))
    del font["CFF "]
    if "VORG" in font:
        del font["VORG"]
    font["maxp"].tableVersion = 0x00010000
    for key in ("maxTwilightPoints", "maxStorage", "maxFunctionDefs", "maxInstructionDefs", "maxStackElements", "maxSizeOfInstructions"):
        setattr(font["maxp"], key, 0)
    font["maxp"].maxZones = 1
    font["maxp"].maxComponentElements = max((len(getattr(g, "components", [])) for g in drawn.values()), default=0)
    font["post"].formatType, font["post"].extraNames, font["post"].mapping = 2.0, [], {}
    font["post"].glyphOrder = order
    font.sfntVersion = "\000\001\000\000"
