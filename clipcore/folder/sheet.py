"""A contact sheet: what was asked for, then what was found, on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

from clipcore.errors import BadInput, EncodingFailed, ImageRejected
from clipcore.folder.contents import SHEET_MARK
from clipcore.folder.lettering import Lettering
from clipcore.folder.paths import visible
from clipcore.images import OWN_FILES, read_image

THUMBNAIL = 240
MARGIN = 24
GAP = 20
CAPTION = 48
_INSET = 8
_MOST_COLUMNS = 8
_MOST_MATCHES = 400  # 51 rows; JPEG ends at 65535 pixels, and viewers and patience well before

_PAPER, _CARD, _EDGE, _INK, _GREY, _FAINT = "#f4f3f0", "#ffffff", "#dddbd5", "#22252a", "#6b7078", "#8f949b"
_ASKED_CARD, _ASKED_EDGE, _ASKED_INK = "#eaf1fb", "#4a7fc1", "#1d3f6e"


@dataclass(frozen=True, slots=True)
class Asked:
    """The first cell. terms: each part of the query as people read it. picture: the first picture among them."""

    terms: tuple[str, ...]
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """note: what stands below the name, such as the score. faint: whether it hardly fits."""

    picture: Path
    note: str
    faint: bool = False


def check_sheet(path: Path, top: int) -> None:
    """Before any work is done for it. top: how many matches it may have to show. Raises BadInput."""
    if top > _MOST_MATCHES:
        raise BadInput(f"A contact sheet holds {_MOST_MATCHES} pictures; ask for fewer with --top.")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadInput(f"The contact sheet {str(path)!r} must end in .png or .jpg.")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"There is no folder {str(path.absolute().parent)!r} for the contact sheet; make it first.")


def draw_sheet(asked: Asked, cells: Sequence[Cell], path: Path) -> str:
    """Writes the sheet. Returns the characters that no font here could draw. Raises BadInput where it cannot be
    written.
    """
    columns = _columns(1 + len(cells))
    rows = -(-(1 + len(cells)) // columns)
    width = 2 * MARGIN + columns * (THUMBNAIL + GAP) - GAP
    height = 2 * MARGIN + rows * (THUMBNAIL + CAPTION + GAP) - GAP
    page = Image.new("RGB", (width, height), _PAPER)
    pen = _Pen(page)
    pen.asked(MARGIN, MARGIN, asked)
    for number, cell in enumerate(cells, start=1):
        row, column = divmod(number, columns)
        pen.cell(MARGIN + column * (THUMBNAIL + GAP), MARGIN + row * (THUMBNAIL + CAPTION + GAP), cell)
    _save(page, path)
    return "".join(sorted(pen.missing))


def _columns(cells: int) -> int:
    """Somewhat wider than high, as screens are."""
    return min(cells, _MOST_COLUMNS, max(4, math.ceil(math.sqrt(1.5 * cells))))


class _Pen:
    """Draws cells, each of THUMBNAIL by THUMBNAIL pixels with CAPTION pixels of text below."""

    def __init__(self, page: Image.Image) -> None:
        self._page = page
        self._draw = ImageDraw.Draw(page)
        self._large, self._name, self._note = Lettering(24), Lettering(15), Lettering(14)

    @property
    def missing(self) -> set[str]:
        return self._large.missing | self._name.missing | self._note.missing

    def asked(self, x: int, y: int, asked: Asked) -> None:
        self._card(x, y, _ASKED_CARD, _ASKED_EDGE, 2)
        if asked.picture is not None:
            self._thumbnail(x, y, asked.picture)
            lines = self._name.wrapped(" ".join(asked.terms), THUMBNAIL, 2)
            for number, line in enumerate(lines):
                self._name.draw(self._draw, x, y + THUMBNAIL + 20 + 20 * number, line, _ASKED_INK)
            return
        inside = THUMBNAIL - 4 * _INSET
        each = max(1, 6 // len(asked.terms))
        lines = [line for term in asked.terms for line in self._large.wrapped(term, inside, each)][:6]
        baseline = y + (THUMBNAIL - 34 * len(lines)) / 2 + 26
        for line in lines:
            left = x + (THUMBNAIL - self._large.width(line)) / 2
            self._large.draw(self._draw, left, baseline, line, _ASKED_INK)
            baseline += 34
        self._note.draw(self._draw, x, y + THUMBNAIL + 20, "asked for", _ASKED_EDGE)

    def cell(self, x: int, y: int, cell: Cell) -> None:
        self._card(x, y, _CARD, _EDGE, 1)
        self._thumbnail(x, y, cell.picture)
        colours = (_FAINT, _FAINT) if cell.faint else (_INK, _GREY)
        self._caption(x, y, visible(cell.picture.name), cell.note, *colours)

    def _card(self, x: int, y: int, fill: str, edge: str, width: int) -> None:
        box = (x, y, x + THUMBNAIL - 1, y + THUMBNAIL - 1)
        self._draw.rounded_rectangle(box, 8, fill, edge, width)

    def _thumbnail(self, x: int, y: int, path: Path) -> None:
        """Whole, in the middle, as large as fits. A picture that can no longer be read leaves its card empty."""
        inside = THUMBNAIL - 2 * _INSET
        try:
            picture = Image.fromarray(read_image(path.read_bytes(), OWN_FILES, enough=inside).pixels)
        except (OSError, ImageRejected, EncodingFailed):
            self._note.draw(self._draw, x + 2 * _INSET, y + THUMBNAIL / 2, "cannot be read any more", _GREY)
            return
        picture = ImageOps.contain(picture, (inside, inside), Image.Resampling.LANCZOS)
        self._page.paste(picture, (x + (THUMBNAIL - picture.width) // 2, y + (THUMBNAIL - picture.height) // 2))

    def _caption(self, x: int, y: int, name: str, note: str, ink: str, grey: str) -> None:
        name = self._name.elided(name, THUMBNAIL)
        self._name.draw(self._draw, x, y + THUMBNAIL + 20, name, ink)
        self._note.draw(self._draw, x, y + THUMBNAIL + 40, note, grey)


def _save(page: Image.Image, path: Path) -> None:
    marked = PngInfo()
    marked.add_text("Software", SHEET_MARK)
    try:
        if path.suffix.lower() == ".png":
            page.save(path, "PNG", pnginfo=marked)
        else:
            page.save(path, "JPEG", quality=90, comment=SHEET_MARK)
    except OSError as error:
        raise BadInput(f"The contact sheet {str(path)!r} cannot be written: {error.strerror or error}.") from error
