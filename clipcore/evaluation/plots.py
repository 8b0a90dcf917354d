"""Draws a confusion matrix, from two classes to thousands."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from clipcore.encoding.resumable import check_output_folder
from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification

# With more classes, cells have no numbers; with still more, rows have no names.
_MAX_NUMBERED = 30
_MAX_NAMED = 200
_INCHES = (5.0, 30.0)
_DOTS_PER_INCH = 110
_MAX_NAME = 28
_CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)


def draw_confusions(result: Classification, path: Path, title: str) -> None:
    """Draws the matrix in the format that the file's ending names. Rows: the true class; columns: the predicted class.

    A cell's colour is its share of the row's images; its number counts them. path: as `check_drawable` accepts. Raises
    OSError.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    classes = len(result.classes)
    numbered, named = classes <= _MAX_NUMBERED, classes <= _MAX_NAMED
    inches = 0.38 if numbered else 0.15 if named else 0.02  # room for a number, for a legible name, or for neither
    side = float(np.clip(3.0 + inches * classes, *_INCHES))
    shares = result.counts / np.maximum(result.counts.sum(axis=1, keepdims=True), 1)
    with rc_context({"font.family": _fonts()}), warnings.catch_warnings():
        # A character that no installed font has is drawn as a box; the rest of the image is useful.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(side + 1.0, side), dpi=_DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, parse_math=False)
        display = ConfusionMatrixDisplay(shares).plot(
            include_values=numbered, cmap="Blues", ax=axes, im_kw={"vmin": 0.0, "vmax": 1.0}
        )
        display.im_.colorbar.set_label("share of the true class's images")
        if numbered:
            for text, count in zip(display.text_.ravel(), result.counts.ravel(), strict=True):
                text.set_text(str(count) if count else "")
        names = [_shortened(name) for name in result.classes] if named else []
        places = range(len(names))
        size = 9.0 if numbered else 7.0
        # A dollar sign in a name does not start a formula.
        axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(places, names, fontsize=size, parse_math=False)
        axes.set(xlabel="predicted class", ylabel="true class")
        figure.savefig(path)


def check_drawable(path: Path) -> None:
    """Checks before hours of encoding that a matrix can be drawn. Raises BadInput where matplotlib or scikit-learn is
    missing, the file's ending names no image format, or its folder is missing.
    """
    try:
        import sklearn.metrics  # noqa: F401
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise BadInput("Drawing needs matplotlib and scikit-learn: pip install 'magpie[lab]'.") from error
    if path.suffix.lower().lstrip(".") not in FigureCanvasAgg.get_supported_filetypes():
        raise BadInput(f"{str(path)!r} does not end like an image; call it '{path.stem}.png'.")
    check_output_folder(path)


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def _fonts() -> list[str]:
    """matplotlib's own font, then those installed here that have Chinese."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _CHINESE_FONTS if name in installed)]
