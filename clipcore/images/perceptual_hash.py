"""Perceptual hashes: 64 bits that stay the same, or nearly, when a picture is scaled, encoded anew or brightened.

The signs of the lowest frequencies of a discrete cosine transform, as in C. Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010, section 3.2.1, and in the pHash and ImageHash libraries. Unlike there, a
frequency that a picture hardly has counts as absent: symmetric drawings lack half of them, and their signs were noise.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipcore.types import Box, Pixels

FLAT = ""
"""The hash of a picture that shows nothing to tell it by: blank, transparent, of one colour."""

_EDGE = 32
_KEPT = 8
_FLAT_LEVELS = 2.0  # standard deviation, of 255; the noise of compression is less
_ABSENT = 0.005  # of the strongest frequency
_COSINES = np.cos(np.pi / (2 * _EDGE) * np.outer(np.arange(_KEPT), 2 * np.arange(_EDGE) + 1))


def perceptual_hash(pixels: Pixels, box: Box | None = None) -> str:
    """uint8 [h, w, 3] of any size -> 16 hexadecimal digits, or FLAT. box: the part of the pixels that is the image; by
    default all.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    # Reduced first by whole numbers, which is several times as fast and changes no bit that matters.
    small = image.resize((_EDGE, _EDGE), Image.Resampling.LANCZOS, box, reducing_gap=2.0)
    levels = np.asarray(small.convert("L"), np.float64)
    if levels.std() < _FLAT_LEVELS:
        return FLAT
    frequencies = (_COSINES @ levels @ _COSINES.T).ravel()
    frequencies[0] = 0.0  # the brightness
    bits = frequencies > np.median(frequencies[1:]) + _ABSENT * np.abs(frequencies).max()
    return np.packbits(bits).tobytes().hex()


def hash_distance(one: str, other: str) -> int:
    """In how many of the 64 bits two hashes differ; neither may be FLAT."""
    return (int(one, 16) ^ int(other, 16)).bit_count()
