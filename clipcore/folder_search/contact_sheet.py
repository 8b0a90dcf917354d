"""A contact sheet: what was asked for, then what was found, on one page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from clipcore.errors import BadInput, EncodingFailed, ImageRejected
from clipcore.folder_search.paths import visible
from clipcore.folder_search.store import SHEET_MARK
from clipcore.images.decode import OWN_FILES, read_image

# Where Pillow's font has no glyph: wide coverage first, then the Chinese, Japanese and Korean fonts of each system.
# The number is the face in a collection; Noto's third is Simplified Chinese.
_FALLBACKS = (
    ("DejaVuSans.ttf", 0),
    ("NotoSans-Regular.ttf", 0),
    ("NotoSansCJK-Regular.ttc", 2),
    ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSansSC-Regular.otf", 0),
    ("SourceHanSansSC-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("PingFang.ttc", 0),
    ("Hiragino Sans GB.ttc", 0),
    ("Arial Unicode.ttf", 0),
    ("msyh.ttc", 0),
    ("msgothic.ttc", 0),
    ("malgun.ttf", 0),
    ("segoeui.ttf", 0),
)
_NO_CHARACTER = "\U0010ffff"
_BOX = "□"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class TextDrawing:
    """Text of one size, in pixels. missing: the characters, met so far, that no font here can draw."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.missing: set[str] = set()

    def draw(self, draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, colour: str) -> None:
        for font, run in self._runs(text):
            draw.text((x, baseline), run, colour, font, anchor="ls")
            x += font.getlength(run)

    def width(self, text: str) -> float:
        return sum(font.getlength(run) for font, run in self._runs(text))

    def elided(self, text: str, width: float) -> str:
        """Cut in the middle, where a file name is dullest: its end tells the number and the kind."""
        if self.width(text) <= width:
            return text
        for kept in range(len(text) - 1, 0, -1):
            shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
            if self.width(shorter) <= width:
                return shorter
        return "…"

    def wrapped(self, text: str, width: float, lines: int) -> list[str]:
        """At most so many lines; what does not fit into the last is elided. Text without spaces breaks anywhere."""
        found: list[str] = []
        rest = text.strip()
        while rest and len(found) < lines - 1 and self.width(rest) > width:
            line = self._first_line(rest, width)
            found.append(line.rstrip())
            rest = rest[len(line) :].lstrip()
        return [*found, self.elided(rest, width)] if rest else found

    def _first_line(self, text: str, width: float) -> str:
        end = next((end for end in range(1, len(text)) if self.width(text[: end + 1]) > width), len(text))
        space = text.rfind(" ", 0, end + 1)
        return text[: space if space > 0 else end]

    def _runs(self, text: str) -> Iterator[tuple[Font, str]]:
        for face, characters in groupby(text, key=self._face):
            run = "".join(characters)
            if face is None:
                self.missing.update(run)
                face, run = 0, _BOX * len(run)
                if (drawn := _face_for(_BOX, self.size)) is not None:
                    face = drawn
            yield _fonts(self.size)[face], run

    def _face(self, character: str) -> int | None:
        return _face_for(character, self.size)


@cache
def _face_for(character: str, size: int) -> int | None:
    """Which of `_fonts` draws it; None where none does."""
    if character.isspace():
        return 0
    return next((face for face, font in enumerate(_fonts(size)) if _draws(font, character)), None)


def _draws(font: Font, character: str) -> bool:
    """Pillow does not tell which glyphs a font has; what it has not looks like every other that it has not."""
    glyph, no_glyph = font.getmask(character), font.getmask(_NO_CHARACTER)
    return glyph.size != no_glyph.size or bytes(glyph) != bytes(no_glyph)


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    return (ImageFont.load_default(size), *_installed(size))


def _installed(size: int) -> Iterator[Font]:
    """Pillow looks through the system's font folders by itself."""
    for name, face in _FALLBACKS:
        try:
            yield ImageFont.truetype(name, size, index=face)
        except OSError:
            continue


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
    """The first cell. terms: each part of the query as people read it. image: the first image among them."""

    terms: tuple[str, ...]
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """note: what stands below the name, such as the score. faint: whether it hardly fits."""

    image: Path
    note: str
    faint: bool = False


def check_sheet(path: Path, top: int) -> None:
    """Before any work is done for it. top: how many matches it may have to show. Raises BadInput."""
    if top > _MOST_MATCHES:
        raise BadInput(f"A contact sheet holds {_MOST_MATCHES} images; ask for fewer with --top.")
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
        self._large, self._name, self._note = TextDrawing(24), TextDrawing(15), TextDrawing(14)

    @property
    def missing(self) -> set[str]:
        return self._large.missing | self._name.missing | self._note.missing

    def asked(self, x: int, y: int, asked: Asked) -> None:
        self._card(x, y, _ASKED_CARD, _ASKED_EDGE, 2)
        if asked.image is not None:
            self._thumbnail(x, y, asked.image)
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
        self._thumbnail(x, y, cell.image)
        colours = (_FAINT, _FAINT) if cell.faint else (_INK, _GREY)
        self._caption(x, y, visible(cell.image.name), cell.note, *colours)

    def _card(self, x: int, y: int, fill: str, edge: str, width: int) -> None:
        box = (x, y, x + THUMBNAIL - 1, y + THUMBNAIL - 1)
        self._draw.rounded_rectangle(box, 8, fill, edge, width)

    def _thumbnail(self, x: int, y: int, path: Path) -> None:
        """Whole, in the middle, as large as fits. An image that can no longer be read leaves its card empty."""
        inside = THUMBNAIL - 2 * _INSET
        try:
            image = Image.fromarray(read_image(path.read_bytes(), OWN_FILES, min_edge=inside).pixels)
        except (OSError, ImageRejected, EncodingFailed):
            self._note.draw(self._draw, x + 2 * _INSET, y + THUMBNAIL / 2, "cannot be read any more", _GREY)
            return
        image = ImageOps.contain(image, (inside, inside), Image.Resampling.LANCZOS)
        self._page.paste(image, (x + (THUMBNAIL - image.width) // 2, y + (THUMBNAIL - image.height) // 2))

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
