"""Charts as PNG files. Call these off the event loop: matplotlib takes a second to load and a third of one to draw."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

# What a character is drawn with: the first of these that the machine has, and that has it.
_FONTS = (
    "Noto Sans",
    "DejaVu Sans",  # comes with matplotlib
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
)
# Of Discord's dark theme. The chart has a ground of its own, so it can be read on the light one, too.
_GROUND, _INK, _BAR = "#2b2d31", "#dbdee1", "#5865f2"
_WIDTH_INCHES, _DPI = 6.5, 120
_LONGEST_NAME = 30
_DATES = 4  # below a line, beside the first one
_EPOCH = date(1970, 1, 1)

_drawing = threading.Lock()  # matplotlib is not thread-safe (its FAQ, "Work with threads")


def bar_chart(names: Sequence[str], counts: Sequence[int]) -> bytes:
    """One horizontal bar for each name, the first one at the top, with its number at its end.

    Of a name, characters that no font of this machine has, such as emoji, are left out, and the end of a long one.
    """
    with _drawing:
        figure, axes = _figure(height=0.5 + 0.27 * len(names))
        bars = axes.barh(range(len(names)), counts, color=_BAR, height=0.7)
        axes.bar_label(bars, labels=[f"{count:,}" for count in counts], padding=4, color=_INK)
        axes.set_yticks(range(len(names)), [_drawable(name) for name in names], parse_math=False)
        axes.invert_yaxis()
        axes.margins(x=0.12, y=0.01)
        axes.xaxis.set_visible(False)
        axes.tick_params(axis="y", length=0, colors=_INK)
        return _png(figure)


def growth_chart(by_day: Mapping[int, int]) -> bytes:
    """How a number has grown: a line that rises at each day by what that day added.

    by_day: what was added, by days since 1970; of one day at least.
    """
    days = sorted(by_day)
    totals = [*accumulate(by_day[day] for day in days)]
    first, last = days[0] - 1, days[-1]  # from nothing, so that a single day is a line, too
    line = [first, *days, last + 1], [0, *totals, totals[-1]]
    with _drawing:
        figure, axes = _figure(height=2.4)
        axes.fill_between(*line, step="post", color=_BAR, alpha=0.35, linewidth=0)
        axes.step(*line, where="post", color=_BAR, linewidth=2)
        ticks = sorted({first + round(at * (last - first) / _DATES) for at in range(_DATES + 1)})
        axes.set_xticks(ticks, [str(_EPOCH + timedelta(days=day)) for day in ticks])
        axes.yaxis.set_major_locator(_whole_numbers())
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y", color=_INK, alpha=0.15)
        axes.tick_params(length=0, colors=_INK, pad=7)
        axes.set_xlim(first, last + 1)
        axes.set_ylim(0, totals[-1] * 1.1)
        return _png(figure)


def _whole_numbers() -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=True)


def _figure(height: float) -> tuple[Figure, Axes]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": [*_characters()], "font.size": 10}):
        figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, facecolor=_GROUND, layout="constrained")
        axes = figure.add_subplot()
        axes.set_facecolor(_GROUND)
        axes.spines[:].set_visible(False)
        for text in axes.get_yticklabels():
            text.set_fontfamily([*_characters()])
    return figure, axes


@cache
def _characters() -> dict[str, frozenset[int]]:
    """Of each font that the machine has."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return {
        name: frozenset(font_manager.get_font(font_manager.findfont(name)).get_charmap())
        for name in _FONTS
        if name in installed
    }


def _drawable(text: str) -> str:
    fonts = _characters().values()
    drawn = "".join(char for char in text if any(ord(char) in font for font in fonts)).strip()
    return drawn if len(drawn) <= _LONGEST_NAME else drawn[: _LONGEST_NAME - 1] + "…"


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
