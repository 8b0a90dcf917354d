"""Text in pictures, in whatever script, with the fonts that this machine has. Pillow's own font knows Latin alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

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


class Lettering:
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
