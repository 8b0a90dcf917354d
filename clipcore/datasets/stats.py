"""What a data set's images are like: how many, how large, and each channel's mean and standard deviation.

The values of 8-bit pixels are counted, not summed: 256 whole numbers a channel hold everything, so the result is exact
whatever the number of pixels and their order, and no running mean (Welford 1962) need be kept sound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcore.datasets.pairs import Problem
from clipcore.encoding.batch import ImageSource
from clipcore.encoding.resumable import reason
from clipcore.errors import EncodingFailed, ImageRejected
from clipcore.images.decode import OWN_FILES, read_image
from clipcore.images.formats import sniff
from clipcore.images.preprocess import Preprocessing
from clipcore.types import Pixels, detail_for

_BATCH = 64

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measured:
    """One image. levels: int64 [3, 256], how many of its pixels have each value."""

    levels: Counts
    width: int
    height: int
    format: str
    bytes: int


@dataclass(slots=True)
class ImageStats:
    """What has been added so far. widths and heights: how many images have each, in pixels after the EXIF turn."""

    levels: Counts = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, measured: Measured) -> None:
        self.levels += measured.levels
        self.widths[measured.width] += 1
        self.heights[measured.height] += 1
        self.formats[measured.format] += 1
        self.bytes += measured.bytes

    @property
    def images(self) -> int:
        return self.widths.total()

    @property
    def mean(self) -> tuple[float, ...]:
        """Of red, green and blue over all pixels, from 0 to 1; nan where there are none."""
        return tuple(_mean_and_variance(channel)[0] / 255 for channel in self.levels)

    @property
    def std(self) -> tuple[float, ...]:
        """Over all pixels, as divided by their number, from 0 to 1."""
        return tuple(_mean_and_variance(channel)[1] ** 0.5 / 255 for channel in self.levels)


def measure_images(
    sources: Iterable[ImageSource], *, size: int | None = None, workers: int = 2
) -> Iterator[Measured | Problem]:
    """One outcome an image, in their order. size: the edge in pixels of the square that a model would see, from the
    shorter edge resized and the middle cropped; None for the images as they are.
    """
    preprocessing = None if size is None else Preprocessing(size=size, crop=size)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode") as pool:
        remaining = iter(sources)
        while batch := list(islice(remaining, _BATCH)):
            yield from pool.map(partial(_measure, preprocessing), batch)


def _measure(preprocessing: Preprocessing | None, source: ImageSource) -> Measured | Problem:
    try:
        data = source.read()
        image = read_image(data, OWN_FILES, enough=None if preprocessing is None else detail_for(preprocessing.size))
    except (ImageRejected, EncodingFailed, OSError) as error:
        return Problem(source.name, reason(error))
    pixels = image.pixels if preprocessing is None else preprocessing.prepare(image.pixels, image.box)
    return Measured(_levels(pixels), image.width, image.height, str(sniff(data)), len(data))


def _levels(pixels: Pixels) -> Counts:
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).histogram(), np.int64).reshape(3, 256)


def _mean_and_variance(levels: Counts) -> tuple[float, float]:
    """Of values 0 to 255, in whole numbers until the last division."""
    counts = [int(count) for count in levels]
    total = sum(counts)
    if not total:
        return float("nan"), float("nan")
    values = sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    return values / total, (total * squares - values * values) / (total * total)
