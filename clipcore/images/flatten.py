"""Any Pillow mode -> 8-bit RGB on white: palettes, CMYK, transparency, 16 and 32 bits a channel.

In pieces: a whole copy in RGBA or in floats would take several times the image's own memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcore.types import Pixels

_Box = tuple[int, int, int, int]

_PIECE_PIXELS = 1 << 20
_PIECE_WIDTH = 1 << 16


def flatten(image: Image.Image, shrink: int = 1) -> Pixels:
    """The loaded image as uint8 [ceil(h / shrink), ceil(w / shrink), 3]: means of shrink x shrink pixels."""
    width, height = image.size
    pixels = np.empty((-(-height // shrink), -(-width // shrink), 3), np.uint8)
    white = _white_point(image) if _is_deep(image) else None
    for left, top, right, bottom in _pieces(width, height, shrink):
        piece = image.crop((left, top, right, bottom))
        flat = _onto_white(piece) if white is None else _from_deep_gray(piece, white)
        shrunk = flat.reduce(shrink) if shrink > 1 else flat
        target = pixels[top // shrink :, left // shrink :]
        target[: shrunk.height, : shrunk.width] = np.asarray(shrunk)
    return pixels


def _pieces(width: int, height: int, shrink: int) -> Iterator[_Box]:
    """Boxes of about a million pixels that cover the image, with corners at multiples of `shrink`."""
    across = _multiple(min(width, _PIECE_WIDTH), shrink)
    down = _multiple(_PIECE_PIXELS // across, shrink)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)


def _multiple(length: int, of: int) -> int:
    return max(of, length // of * of)


def _onto_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _from_deep_gray(image: Image.Image, white: float) -> Image.Image:
    """Scales the range; Pillow's own conversion clips deep gray at 255, which whitens it."""
    deep = _numbers(image)
    gray = np.clip(deep * (255.0 / white), 0, 255).round().astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[deep == transparent] = 255
    return Image.fromarray(gray).convert("RGB")


def _white_point(image: Image.Image) -> float:
    """Modes I and F do not define white: the smallest usual range that holds the values."""
    if image.mode.startswith("I;16"):
        return 65535.0
    brightest = max(float(_numbers(image.crop(box)).max(initial=0.0)) for box in _pieces(*image.size, 1))
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if brightest <= white), brightest)


def _numbers(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0.0, neginf=0.0)
