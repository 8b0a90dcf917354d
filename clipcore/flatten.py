"""Any Pillow mode -> 8-bit RGB on white: palettes, CMYK, transparency, 16 and 32 bits a channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image


def flatten(image: Image.Image) -> Image.Image:
    """The loaded picture in mode RGB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_deep_gray(image)
    return _onto_white(image) if image.has_transparency_data else image.convert("RGB")


def _onto_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _from_deep_gray(image: Image.Image) -> Image.Image:
    """Pillow clips deep gray at 255 on conversion, which whitens it; the range is scaled instead."""
    deep = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0.0, neginf=0.0)
    gray = np.clip(deep * (255.0 / _white_point(image.mode, deep)), 0, 255).round().astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[deep == transparent] = 255
    return Image.fromarray(gray).convert("RGB")


def _white_point(mode: str, deep: npt.NDArray[np.float32]) -> float:
    """Modes I and F do not say what white is: the smallest usual range that holds the values."""
    if mode.startswith("I;16"):
        return 65535.0
    brightest = float(deep.max(initial=0.0))
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((white for white in usual if brightest <= white), brightest)
