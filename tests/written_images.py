"""Pictures in which words stand, in English and Chinese."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

_CHINESE = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "C:/Windows/Fonts/msyh.ttc",
)


def written(*lines: str) -> bytes:
    """A PNG with these lines, black on white. Skips the test where no font has the characters."""
    picture = Image.new("RGB", (640, 320), "white")
    draw = ImageDraw.Draw(picture)
    for at, line in enumerate(lines):
        draw.text((40, 40 + 90 * at), line, fill="black", font=_font(line))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _font(line: str) -> ImageFont.FreeTypeFont:
    if line.isascii():
        return ImageFont.load_default(48)  # type: ignore[return-value]
    found = next((path for path in _CHINESE if Path(path).is_file()), None)
    if found is None:
        pytest.skip("no font with Chinese characters is installed")
    return ImageFont.truetype(found, 48)
