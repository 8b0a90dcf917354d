"""Draws a contact sheet: the query and its matches on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from clipcore.encoding.resumable import check_output_folder
from clipcore.errors import BadInput, EncodingFailed, ImageRejected
from clipcore.folder_search.paths import visible
from clipcore.folder_search.search import Match, Term, describe_terms
from clipcore.folder_search.store import SHEET_MARK
from clipcore.images.decode import OWN_FILES, read_image

THUMBNAIL = 240
MARGIN = 24
GAP = 20
CAPTION = 48
_INSET = 8
_MAX_COLUMNS = 8
_MAX_MATCHES = 400  # 51 rows; a JPEG has at most 65535 pixels a side, and viewers give up well before

_PAPER, _CARD, _EDGE, _INK, _GREY, _FAINT = "#f4f3f0", "#ffffff", "#dddbd5", "#22252a", "#6b7078", "#8f949b"
_QUERY_CARD, _QUERY_EDGE, _QUERY_INK = "#eaf1fb", "#4a7fc1", "#1d3f6e"
_LARGE, _NAME, _NOTE = 24, 15, 14


def check_sheet(path: Path, top: int) -> None:
    """Checks a sheet's path before the search. top: how many matches it may have to show. Raises BadInput."""
    if top > _MAX_MATCHES:
        raise BadInput(f"A contact sheet holds {_MAX_MATCHES} images; ask for fewer with --top.")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadInput(f"The contact sheet {str(path)!r} must end in .png or .jpg.")
    check_output_folder(path)


def draw_sheet(path: Path, terms: Sequence[Term], matches: Sequence[Match]) -> str:
    """Writes the sheet. Returns the characters that no font on this machine could draw. Raises BadInput where the file
    cannot be written.
    """
    count = 1 + len(matches)
    columns = min(count, _MAX_COLUMNS, max(4, math.ceil(math.sqrt(1.5 * count))))  # wider than high, as screens are
    rows = math.ceil(count / columns)
    width = 2 * MARGIN + columns * (THUMBNAIL + GAP) - GAP
    height = 2 * MARGIN + rows * (THUMBNAIL + CAPTION + GAP) - GAP
    pen = _Pen(Image.new("RGB", (width, height), _PAPER))
    pen.query(MARGIN, MARGIN, terms)
    for number, match in enumerate(matches, start=1):
        row, column = divmod(number, columns)
        pen.match(MARGIN + column * (THUMBNAIL + GAP), MARGIN + row * (THUMBNAIL + CAPTION + GAP), match)
    mark = PngInfo()
    mark.add_text("Software", SHEET_MARK)
    try:
        pen.page.save(path, pnginfo=mark, comment=SHEET_MARK, quality=90)  # PNG takes the first, JPEG the others
    except OSError as error:
        raise BadInput(f"The contact sheet {str(path)!r} cannot be written: {error.strerror or error}.") from error
    return "".join(sorted(pen.missing))


class _Pen:
    """Draws the query and matches, each in THUMBNAIL by THUMBNAIL pixels with CAPTION pixels of text below."""

    def __init__(self, page: Image.Image) -> None:
        self.page = page
        self.missing: set[str] = set()
        self._draw = ImageDraw.Draw(page)

    def query(self, x: int, y: int, terms: Sequence[Term]) -> None:
        self._card(x, y, _QUERY_CARD, _QUERY_EDGE, 2)
        described = describe_terms(terms)
        image = next((term.image for term in terms if term.image is not None), None)
        if image is not None:
            self._thumbnail(x, y, image)
            font = font_for(" ".join(described), _NAME)
            for number, line in enumerate(wrap(" ".join(described), font, THUMBNAIL, 2)):
                self._text(x, y + THUMBNAIL + 20 + 20 * number, line, font, _QUERY_INK)
            return
        max_lines = max(1, 6 // len(terms))
        fonts = [(term, font_for(term, _LARGE)) for term in described]
        lines = [(line, font) for term, font in fonts for line in wrap(term, font, THUMBNAIL - 4 * _INSET, max_lines)]
        first_baseline = y + (THUMBNAIL - 34 * len(lines[:6])) / 2 + 26
        for number, (line, font) in enumerate(lines[:6]):
            self._text(x + THUMBNAIL / 2, first_baseline + 34 * number, line, font, _QUERY_INK, anchor="ms")
        self._text(x, y + THUMBNAIL + 20, "query", font_for("query", _NOTE), _QUERY_EDGE)

    def match(self, x: int, y: int, match: Match) -> None:
        self._card(x, y, _CARD, _EDGE, 1)
        self._thumbnail(x, y, match.path)
        name, more = visible(match.path.name), len(match.files) - 1
        note = f"{match.score:.3f}" + (f" · {more} more" if more else "") + (" · weak" if match.weak else "")
        self._text(x, y + THUMBNAIL + 20, name, font_for(name, _NAME), _FAINT if match.weak else _INK)
        self._text(x, y + THUMBNAIL + 40, note, font_for(note, _NOTE), _FAINT if match.weak else _GREY)

    def _card(self, x: int, y: int, fill: str, edge: str, width: int) -> None:
        box = (x, y, x + THUMBNAIL - 1, y + THUMBNAIL - 1)
        self._draw.rounded_rectangle(box, 8, fill, edge, width)

    def _thumbnail(self, x: int, y: int, path: Path) -> None:
        """Draws the whole image, centred, as large as fits; an unreadable one leaves its card empty."""
        inside = THUMBNAIL - 2 * _INSET
        try:
            image = Image.fromarray(read_image(path.read_bytes(), OWN_FILES, min_edge=inside).pixels)
        except (OSError, ImageRejected, EncodingFailed):
            note = "cannot be read any more"
            self._text(x + 2 * _INSET, y + THUMBNAIL / 2, note, font_for(note, _NOTE), _GREY)
            return
        image = ImageOps.contain(image, (inside, inside), Image.Resampling.LANCZOS)
        self.page.paste(image, (x + (THUMBNAIL - image.width) // 2, y + (THUMBNAIL - image.height) // 2))

    def _text(self, x: float, baseline: float, text: str, font: Font, colour: str, anchor: str = "ls") -> None:
        self.missing |= missing_glyphs(text, font)
        self._draw.text((x, baseline), elide(text, font, THUMBNAIL), colour, font, anchor)


# Fonts of Linux, macOS and Windows for text that Pillow's own font cannot draw, with the face in a collection: Noto's
# third is Simplified Chinese.
_FALLBACK_FONTS = (
    ("NotoSansCJK-Regular.ttc", 2),
    ("NotoSansSC-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("Arial Unicode.ttf", 0),
    ("PingFang.ttc", 0),
    ("msyh.ttc", 0),
    ("DejaVuSans.ttf", 0),
)
_NO_CHARACTER = "\U0010ffff"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_for(text: str, size: int) -> Font:
    """Returns the first font, in pixels of size, that draws the whole text, or else the one that draws most of it."""
    return min(_fonts(size), key=lambda font: len(missing_glyphs(text, font)))


def missing_glyphs(text: str, font: Font) -> set[str]:
    return {character for character in text if not character.isspace() and not _draws(font, character)}


def elide(text: str, font: Font, width: float) -> str:
    """Cuts the middle out of a text that is too wide: the end of a file's name has its number and its suffix."""
    if font.getlength(text) <= width:
        return text
    shortened = (f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}" for kept in range(len(text) - 1, 0, -1))
    return next((shorter for shorter in shortened if font.getlength(shorter) <= width), "…")


def wrap(text: str, font: Font, width: float, max_lines: int) -> list[str]:
    """Breaks a text at spaces, or anywhere where it has none, and elides the last line if the rest does not fit."""
    lines: list[str] = []
    rest = text.strip()
    while rest and len(lines) < max_lines - 1 and font.getlength(rest) > width:
        end = next((end for end in range(1, len(rest)) if font.getlength(rest[: end + 1]) > width), len(rest))
        space = rest.rfind(" ", 0, end + 1)
        end = space if space > 0 else end
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, elide(rest, font, width)] if rest else lines


@cache
def _draws(font: Font, character: str) -> bool:
    """Pillow does not say which glyphs a font has, but it draws the same box for all that are missing."""
    glyph, no_glyph = font.getmask(character), font.getmask(_NO_CHARACTER)
    return glyph.size != no_glyph.size or bytes(glyph) != bytes(no_glyph)


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    """Pillow's own font, and the first fallback that is installed; Pillow knows the system's font folders."""
    for name, face in _FALLBACK_FONTS:
        try:
            return ImageFont.load_default(size), ImageFont.truetype(name, size, index=face)
        except OSError:
            continue
    return (ImageFont.load_default(size),)
