"""What figures share: rates in their unit, intervals, panels that stay on a page."""

import math

import pytest
from matplotlib.figure import Figure

from cycle.eval.plots.axes import PAGE, panels, scaled, whiskers
from cycle.eval.plots.curves import draw_systems, say_systems, sign_of
from cycle.eval.style import STYLES

ERRORS = {"system": "cycle", "unit": "error (%)", "scale": 100.0, "rate": 0.2, "low": 0.18, "high": 0.23}
CIDER = {"system": "cycle", "unit": "cider d", "scale": 1.0, "rate": 0.9, "low": 0.8, "high": 1.1}


def test_rates_and_intervals_are_in_their_unit():
    assert scaled(ERRORS) == pytest.approx(20) and scaled(CIDER) == pytest.approx(0.9)
    assert scaled({"rate": 0.5}) == 50 and math.isnan(scaled({**ERRORS, "rate": None}))
    assert whiskers([ERRORS, CIDER, {**ERRORS, "low": None}]) == [pytest.approx([2, 0.1, 0]), pytest.approx([3, 0.2, 3])]
    assert sign_of([ERRORS]) == " %" and sign_of([CIDER]) == sign_of([ERRORS, CIDER]) == ""


@pytest.mark.filterwarnings("error")
def test_a_system_without_a_rate_is_not_drawn_as_nought():
    rows, canvas = [ERRORS, {**ERRORS, "system": "lm", "rate": None, "low": None, "high": None}], Figure()
    draw_systems(canvas, rows, STYLES["plain"])
    assert [text.get_text() for text in canvas.axes[0].texts] == ["20.0"]
    canvas.draw_without_rendering()
    assert say_systems(rows) == "cycle 20.0 %."


@pytest.mark.parametrize(("count", "inches"), [(1, 1.3), (7, 4.75), (30, PAGE), (61, PAGE)])
def test_panels_stay_on_a_page(count, inches):
    canvas = Figure()
    axes = panels(canvas, STYLES["plain"], count)
    assert len(axes) == count and canvas.get_size_inches()[1] == pytest.approx(inches)
    assert sum(a.get_visible() for a in canvas.axes) == count
