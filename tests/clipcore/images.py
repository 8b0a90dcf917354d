"""Images for the tests, as bytes in every format that is read."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF")


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green / blue, white: each turn and mirroring of it looks different."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)


def noise(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(color: str = "red", width: int = 64, height: int = 48) -> bytes:
    return encode(Image.new("RGB", (width, height), color))
