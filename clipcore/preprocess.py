"""CLIP's geometry without torch: resize and crop exactly as transformers' Pillow image processor does.

Only the geometry happens here, in the decode pool, and its result is a small uint8 square; scaling to floats and
normalising belong to the device (see model.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipcore.types import Pixels

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

# A strip of 1 x 100,000 pixels resized to a short edge of 224 would be 22,400,000 pixels long. Beyond this many times
# the crop's length the strip is cut before it is resized.
_LONGEST = 8


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What `preprocessor_config.json` says.

    size: the short edge after resizing, in pixels; squash: resize to size x size instead, losing the proportions.
    crop: the edge of the square that the model sees.
    """

    size: int = 224
    crop: int = 224
    squash: bool = False
    resample: int = Image.Resampling.BICUBIC
    mean: tuple[float, ...] = _OPENAI_MEAN
    std: tuple[float, ...] = _OPENAI_STD
    rescale: float = 1 / 255

    @classmethod
    def read(cls, path: Path) -> Preprocessing:
        """From `preprocessor_config.json`, whose older spelling has plain numbers for size and crop_size."""
        return cls.parse(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def parse(cls, config: dict[str, Any]) -> Preprocessing:
        size = config.get("size", 224)
        squash = isinstance(size, dict) and "shortest_edge" not in size
        edge = _edge(size)
        cropped = config.get("do_center_crop", True)
        return cls(
            size=edge,
            crop=_edge(config.get("crop_size", edge)) if cropped else edge,
            squash=squash,
            resample=int(config.get("resample", Image.Resampling.BICUBIC)),
            mean=tuple(config.get("image_mean", _OPENAI_MEAN)),
            std=tuple(config.get("image_std", _OPENAI_STD)),
            rescale=float(config.get("rescale_factor", 1 / 255)),
        )

    def prepare(self, pixels: Pixels) -> Pixels:
        """uint8 [h, w, 3] of any size -> uint8 [crop, crop, 3]."""
        height, width = pixels.shape[:2]
        if self.squash:
            resized = self._resize(pixels, self.size, self.size)
        else:
            pixels = self._without_far_ends(pixels)
            height, width = pixels.shape[:2]
            short = min(height, width)
            # Truncation, not rounding: what transformers (and torchvision before it) does.
            resized = self._resize(pixels, int(self.size * width / short), int(self.size * height / short))
        return _centre_crop(resized, self.crop)

    def _without_far_ends(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        longest = max(1, _LONGEST * min(height, width) * max(1, self.crop // self.size))
        top, left = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
        return pixels[top : top + longest, left : left + longest]

    def _resize(self, pixels: Pixels, width: int, height: int) -> Pixels:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((width, height), resample=Image.Resampling(self.resample)))


def _edge(size: int | dict[str, int]) -> int:
    """One edge in pixels, from `224`, `{"shortest_edge": 224}` or `{"height": 224, "width": 224}`."""
    if isinstance(size, dict):
        return int(size.get("shortest_edge", size.get("height", 224)))
    return int(size)


def _centre_crop(pixels: Pixels, edge: int) -> Pixels:
    """The middle edge x edge pixels; where the picture is smaller, black around it."""
    height, width = pixels.shape[:2]
    if height < edge or width < edge:
        pad_y, pad_x = max(0, edge - height), max(0, edge - width)
        above, before = (pad_y + 1) // 2, (pad_x + 1) // 2
        pixels = np.pad(pixels, ((above, pad_y - above), (before, pad_x - before), (0, 0)))
        height, width = pixels.shape[:2]
    top, left = (height - edge) // 2, (width - edge) // 2
    return np.ascontiguousarray(pixels[top : top + edge, left : left + edge])
