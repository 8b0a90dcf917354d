"""A confusion matrix as a picture, from two classes to a thousand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipcore.errors import BadInput
from clipcore.evaluate.classification import Classification

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Up to so many classes each cell carries its number, and up to so many each row its name.
_MOST_NUMBERED = 30
_MOST_NAMED = 200
_INCHES = (5.0, 30.0)
_DOTS_AN_INCH = 110
_LONGEST_NAME = 28


def draw_confusions(result: Classification, path: Path, title: str) -> None:
    """Writes a picture in the format that the file's ending names. Rows: what it is; columns: what it was taken for.

    A cell's shade is its share of the row's pictures. Raises BadInput as `check_drawable` does, and where the file
    cannot be written.
    """
    check_drawable(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    classes = len(result.classes)
    side = float(np.clip(3.0 + _inches_a_class(classes) * classes, *_INCHES))
    with rc_context({"font.family": _families()}), warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box; the rest of the picture is worth having.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(side + 1.0, side), dpi=_DOTS_AN_INCH, layout="constrained")
        axes = figure.add_subplot()
        shares = _shares(result.counts)
        shown = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
        _name(axes, result.classes)
        if classes <= _MOST_NUMBERED:
            _number(axes, result.counts, shares)
        axes.set_title(title)
        figure.colorbar(shown, ax=axes, label="share of the class's pictures", shrink=0.6)
        try:
            figure.savefig(path)
        except OSError as error:
            raise BadInput(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error


def check_drawable(path: Path) -> None:
    """To be asked before hours of encoding. Raises BadInput where matplotlib is missing, knows no format of the file's
    ending, or the folder does not exist.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise BadInput("A confusion matrix as a picture needs matplotlib: pip install 'magpie[lab]'.") from error
    endings = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in endings:
        raise BadInput(f"{str(path)!r} has no ending of a picture format; call it '{path.stem}.png'.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {str(path.parent)!r} for the picture.")


def _inches_a_class(classes: int) -> float:
    """Room for a number, or for a name of a readable size, or for neither."""
    if classes <= _MOST_NUMBERED:
        return 0.38
    return 0.15 if classes <= _MOST_NAMED else 0.02


def _shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Each row adds up to 1; rows of classes without pictures stay empty."""
    shares: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _name(axes: Axes, classes: tuple[str, ...]) -> None:
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    if len(classes) > _MOST_NAMED:
        return
    places = np.arange(len(classes))
    size = 9.0 if len(classes) <= _MOST_NUMBERED else 7.0
    names = [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in classes]
    # Names are people's words: a dollar sign in one is no formula.
    axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, names, fontsize=size, parse_math=False)


def _number(axes: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=color)


def _families() -> list[str]:
    """matplotlib's own font, then whichever here has Chinese."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    chinese = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "SimHei")
    return ["DejaVu Sans", *(name for name in chinese if name in installed)]
