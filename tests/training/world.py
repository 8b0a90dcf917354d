"""A small world to learn: patches of colour, named by letters, which is all that the tiny model reads."""

from __future__ import annotations

import io
from base64 import urlsafe_b64encode
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import ImageSource
from clipcore.model import ClipModel

BROKEN = b"this is no image"


def load(directory: Path) -> ClipModel:
    return ClipModel.load(str(directory), device="cpu", precision="fp32", local_only=True)


def weights(model: ClipModel) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.towers.module.named_parameters()}


def patches(count: int, *, seed: int = 0, captions_each: int = 1, broken: Collection[int] = ()) -> Pairs:
    """Each image four colours of its own; each caption letters of its own."""
    letters = [f"{chr(97 + index % 26)} {chr(97 + index // 26)}" for index in range(count)]
    words = [f"{name} {chr(97 + number)}" for name in letters for number in range(captions_each)]
    sources = [
        ImageSource(f"image {index}", _reader(BROKEN if index in broken else patch(index, seed)))
        for index in range(count)
    ]
    return Pairs(words, np.repeat(np.arange(count), captions_each), sources)


def patch(index: int, seed: int = 0) -> bytes:
    """A PNG. seed: another one gives another image of much the same colours."""
    colours = np.random.default_rng(index).integers(0, 256, (2, 2, 3))
    noise = np.random.default_rng([index, seed]).integers(-8, 9, (32, 32, 3))
    pixels = (colours.repeat(16, axis=0).repeat(16, axis=1) + noise).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tsv(path: Path, pairs: Pairs) -> Path:
    rows = zip(pairs.captions, pairs.image_of, strict=True)
    lines = (f"{words}\t{urlsafe_b64encode(pairs.images[image].read()).decode()}\n" for words, image in rows)
    path.write_text("".join(lines), "utf-8")
    return path


def _reader(data: bytes):
    return lambda: data
