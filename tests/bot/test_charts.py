from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

from bot.charts import bar_chart, growth_chart


def pixels(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.convert("RGB")


def blue(image: Image.Image) -> int:
    """How much of the picture is bars, or what is below a line."""
    return sum(count for count, (red, _, blue) in image.getcolors(1 << 20) if blue > 110 and blue > 1.8 * red)


def test_bars_are_as_long_as_their_numbers() -> None:
    half, whole = (blue(pixels(bar_chart(["a", "b"], counts))) for counts in ([100, 0], [100, 100]))
    assert half / whole == pytest.approx(0.5, rel=0.05)


def test_a_chart_grows_with_its_bars() -> None:
    few, many = (pixels(bar_chart([str(at) for at in range(n)], [1] * n)) for n in (3, 20))
    assert few.width == many.width
    assert few.height < many.height < 900


@pytest.mark.parametrize("name", ["🐈", "$x^{", "\N{ESCAPE}", "", "猫", "a" * 300])
def test_any_name_can_be_drawn(name: str) -> None:
    """Warnings, such as those of missing glyphs, are errors here."""
    assert pixels(bar_chart([name, "cat"], [3, 1])).width > 100


def test_growth_rises_with_what_each_day_adds() -> None:
    early, late = (blue(pixels(growth_chart(by_day))) for by_day in ({1: 90, 100: 10}, {1: 10, 100: 90}))
    assert early > 2 * late


@pytest.mark.parametrize("by_day", [{20_000: 1}, {20_000: 1, 20_001: 3}, {16_000: 5_000_000, 20_000: 1}])
def test_any_growth_can_be_drawn(by_day: dict[int, int]) -> None:
    assert pixels(growth_chart(by_day)).width > 100


def test_matplotlib_is_loaded_only_for_a_chart() -> None:
    code = "import sys, bot.features.cogs; print([name for name in ('matplotlib', 'scipy') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
