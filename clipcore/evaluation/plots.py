"""A confusion matrix as an image, from two classes to a thousand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipcore.encoding.resumable import check_output_folder
from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Up to so many classes each cell carries its number, and up to so many each row its name.
_MOST_NUMBERED = 30
_MOST_NAMED = 200
_INCHES = (5.0, 30.0)
_DOTS_AN_INCH = 110
_LONGEST_NAME = 28
# Shares of what is right, those of mistakes below zero.
_TICKS = np.array([-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0])


def draw_confusions(result: Classification, path: Path, title: str) -> None:
    """Writes an image in the format that the file's ending names. Rows: what it is; columns: what it was taken for.

    A cell's shade is its share of the row's images: blue where that is right, red where it is not. Raises BadInput as
    `check_drawable` does, and where the file cannot be written.
    """
    check_drawable(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    classes = len(result.classes)
    side = float(np.clip(3.0 + _inches_a_class(classes) * classes, *_INCHES))
    with rc_context({"font.family": _families()}), warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box; the rest of the image is worth having.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(side + 1.0, side), dpi=_DOTS_AN_INCH, layout="constrained")
        axes = figure.add_subplot()
        shades = _shades(result.counts)
        shown = axes.imshow(shades, cmap="RdBu", vmin=-1.0, vmax=1.0, interpolation="nearest")
        lettering = 9.0 + side / 3
        _name(axes, result.classes, lettering)
        if classes <= _MOST_NUMBERED:
            _number(axes, result.counts, shades)
        else:
            _rule(axes, classes)
        axes.set_title(title, fontsize=lettering, parse_math=False)
        bar = figure.colorbar(shown, ax=axes, shrink=0.75, ticks=np.sign(_TICKS) * np.abs(_TICKS) ** 0.5)
        bar.ax.set_yticklabels([f"{abs(share):.0%}" for share in _TICKS])
        bar.set_label("share of the class's images:\nred wrong, blue right", fontsize=lettering)
        try:
            figure.savefig(path)
        except OSError as error:
            raise BadInput(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error


def check_drawable(path: Path) -> None:
    """To be asked before hours of encoding. Raises BadInput where matplotlib is missing, knows no format of the file's
    ending, or the folder does not exist or has that name itself.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise BadInput("A confusion matrix as an image needs matplotlib: pip install 'magpie[lab]'.") from error
    endings = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in endings:
        raise BadInput(f"{str(path)!r} has no ending of an image format; call it '{path.stem}.png'.")
    check_output_folder(path)


def _inches_a_class(classes: int) -> float:
    """Room for a number, or for a name of a readable size, or for neither."""
    if classes <= _MOST_NUMBERED:
        return 0.38
    return 0.15 if classes <= _MOST_NAMED else 0.02


def _shades(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """-1 to 1: the root of each share, so that rare mistakes are seen; mistakes below zero. Rows of classes without
    images stay empty.
    """
    roots: npt.NDArray[np.float64] = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return np.where(np.eye(len(counts), dtype=np.bool_), roots, -roots)


def _name(axes: Axes, classes: tuple[str, ...], lettering: float) -> None:
    axes.set_xlabel("taken for", fontsize=lettering)
    axes.set_ylabel("is", fontsize=lettering)
    if len(classes) > _MOST_NAMED:
        return
    places = np.arange(len(classes))
    size = 9.0 if len(classes) <= _MOST_NUMBERED else 7.0
    names = [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in classes]
    # Names are people's words: a dollar sign in one is no formula.
    axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, names, fontsize=size, parse_math=False)


def _rule(axes: Axes, classes: int) -> None:
    """Lines for the eye to follow from a name to a cell."""
    step = 10 if classes <= _MOST_NAMED else 100
    for place in np.arange(step, classes, step) - 0.5:
        axes.axhline(place, color="0.85", linewidth=0.5)
        axes.axvline(place, color="0.85", linewidth=0.5)


def _number(axes: Axes, counts: npt.NDArray[np.int64], shades: npt.NDArray[np.float64]) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if abs(shades[row, column]) > 0.7 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=color)


def _families() -> list[str]:
    """matplotlib's own font, then whichever here has Chinese."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    chinese = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "SimHei")
    return ["DejaVu Sans", *(name for name in chinese if name in installed)]
