"""The report of a run in a browser, from the file system: nothing goes wrong, nothing is fetched, everything is there and plays."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cycle.eval.render import contents
from tests.command import quick

SECTIONS = [section for section, _ in contents(False)]
INSIDE = re.compile(r"data:|blob:")  # inside the page itself


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium here: apt-get install chromium (tools/test.sh does so for root)")
    with api.sync_playwright() as play:
        try:
            made = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--mute-audio"])
        except api.Error as error:
            pytest.skip(f"chromium does not start here: {str(error).splitlines()[0]}")
        yield made
        made.close()


class Opened:
    """A page with everything it complained of and asked for."""

    def __init__(self, browser: Any, file: Path, width: int, height: int, scripts: bool = True):
        self.page = browser.new_page(viewport={"width": width, "height": height}, java_script_enabled=scripts)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        start = time.monotonic()
        self.page.goto(f"file://{file}", wait_until="load")
        self.seconds = time.monotonic() - start
        self.fetched = [url for url in self.requests if not INSIDE.match(url) and url != f"file://{file}"]


@pytest.fixture(scope="module")
def desktop(browser: Any, finished: Path) -> Opened:
    return Opened(browser, finished / "report/report.html", 1280, 900)


def test_opens_by_itself(desktop: Opened, finished: Path) -> None:
    assert desktop.complaints == [] and desktop.fetched == []
    assert (finished / "report/report.html").stat().st_size < 10e6
    print(f"opened in {desktop.seconds:.1f} s")  # under two seconds on a machine with nothing else to do


def test_every_section_and_picture_is_there(desktop: Opened) -> None:
    for section in SECTIONS:
        assert desktop.page.locator(f"h2#{section}").count() == 1, section
    assert desktop.page.locator("h2#missing").count() == 0
    for section in ("results", "run", "curves", "errors", "changes", "alignment", "health"):
        here = f"//h2[@id='{section}']/following::figure[preceding::h2[1][@id='{section}']]"
        assert desktop.page.locator(f"xpath={here}").count() > 0, section
    broken = "all => all.filter(i => { i.loading = 'eager'; return i.complete && !i.naturalWidth }).map(i => i.alt)"
    assert desktop.page.locator("img").evaluate_all(broken) == []


def test_chinese_is_shown_by_the_page_s_own_font(desktop: Opened) -> None:
    fonts = desktop.page.evaluate("document.fonts.ready.then(all => [...all].map(f => f.family.replaceAll('\"', '') + ' ' + f.status))")
    assert fonts == ["Cycle Han loaded"]


def test_a_player_plays_when_asked(desktop: Opened) -> None:
    players = desktop.page.locator("audio")
    assert players.count() > 10 and players.evaluate_all("all => all.every(a => a.paused && !a.autoplay)")
    for player in (players.first, players.last):
        player.evaluate("a => a.play()")
        desktop.page.wait_for_function("a => a.currentTime > 0.05 || a.ended", arg=player.element_handle(), timeout=20_000)
        assert player.evaluate("a => a.duration") > 0.2
        player.evaluate("a => a.pause()")
    assert desktop.complaints == []


def test_the_keyboard_reaches_everything(desktop: Opened) -> None:
    desktop.page.locator("body").press("Tab")
    assert desktop.page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(60):
        desktop.page.keyboard.press("Tab")
        seen.add(desktop.page.evaluate("document.activeElement.tagName"))
    assert {"A", "DIV"} <= seen  # links, and tables that scroll
    assert desktop.page.locator("audio, summary, a[href]").evaluate_all("all => all.every(e => e.tabIndex >= 0)")


@pytest.mark.parametrize(("name", "width"), [("desktop", 1280), ("telephone", 390)])
def test_fits_the_screen(browser: Any, finished: Path, tmp_path: Path, name: str, width: int) -> None:
    """Without scripts too. The pictures are for people: CYCLE_SCREENSHOTS=DIR keeps them."""
    opened = Opened(browser, finished / "report/report.html", width, 844, scripts=False)
    folder = Path(os.environ.get("CYCLE_SCREENSHOTS") or tmp_path)
    opened.page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert (folder / f"{name}.png").stat().st_size > 50_000
    box = opened.page.locator("main").bounding_box()
    assert box and box["width"] <= width
    opened.page.close()
    with_scripts = Opened(browser, finished / "report/report.html", width, 844)
    assert with_scripts.page.evaluate("document.documentElement.scrollWidth") <= width
    with_scripts.page.close()


def test_a_running_experiment_has_a_page(browser: Any, finished: Path, tmp_path: Path) -> None:
    """As if it were killed in the first round; with an utterance that would like to be a script."""
    exp = tmp_path / "exp"
    shutil.copytree(finished, exp, symlinks=True, ignore=shutil.ignore_patterns("round_0[12]", "decode", "score", "report", "rounds.json"))
    (exp / "summary.json").unlink()
    text = exp / "data/test/text"
    text.write_text(re.sub(r"(?m) .*$", " <img src=x onerror=alert(1)><script>alert(2)</script>", text.read_text()))
    done = quick("report", exp)
    assert done.returncode == 0, done.stderr
    opened = Opened(browser, exp / "report/report.html", 1280, 900)
    assert opened.complaints == [] and opened.fetched == []
    assert opened.page.locator("h2#missing").count() == 1 and opened.page.locator("script").count() == 0
    assert "<script>alert(2)</script>" in opened.page.locator("main").inner_text()
    assert opened.page.locator("#figure-losses").count() == 1 and opened.page.locator("audio").count() > 0
    opened.page.close()


@pytest.mark.all  # test_report.py compares two of one process
def test_a_second_report_is_the_same(finished: Path) -> None:
    """The models are asked once; what they said is kept, and asking again says the same."""
    files = sorted(p for p in (finished / "report").rglob("*") if p.is_file())
    before = {p: p.read_bytes() for p in files}
    shutil.rmtree(finished / "samples")
    assert quick("report", finished).returncode == 0
    assert {p.name: first_difference(before[p], p.read_bytes()) for p in files if p.read_bytes() != before[p]} == {}
    assert sorted(p for p in (finished / "report").rglob("*") if p.is_file()) == files


def first_difference(one: bytes, other: bytes) -> tuple[bytes, bytes]:
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[max(0, at - 200) : at + 100], other[max(0, at - 200) : at + 100]
