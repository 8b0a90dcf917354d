"""Pictures in which words stand."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

IN_CHINESE = (Path(__file__).parent / "opening-hours-zh.png").read_bytes()
"""营业时间 ("opening hours") in Noto Sans: Pillow's own font has no Chinese characters."""


def written(*lines: str) -> bytes:
    """A PNG with these lines, black on white."""
    picture = Image.new("RGB", (640, 320), "white")
    draw = ImageDraw.Draw(picture)
    for at, line in enumerate(lines):
        draw.text((40, 40 + 90 * at), line, fill="black", font=ImageFont.load_default(48))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
