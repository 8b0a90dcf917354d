"""What a data set contains: images, captions, classes, sizes, formats, and each channel's mean and standard deviation.

The values of 8-bit pixels are counted, not summed: 256 integers a channel hold everything, so the result is exact
whatever the number and order of the pixels, without the rounding of a running mean (Welford 1962).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcore.batching import batches_of
from clipcore.datasets.captions import open_pairs
from clipcore.datasets.tables import Columns
from clipcore.encoding.batch import ImageSource, Problem, reason_of
from clipcore.errors import BadInput, EncodingFailed, ImageRejected
from clipcore.images.decode import OWN_FILES, read_image
from clipcore.images.formats import sniff
from clipcore.images.preprocess import Preprocessing
from clipcore.images.walk import image_files
from clipcore.types import detail_for

_BATCH = 64

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Inventory:
    """captions: their number, class names included. classes: the number of images of each; empty where the captions
    are not classes. loose: the number of images outside the folders of classes.
    """

    images: Sequence[ImageSource]
    captions: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    loose: int = 0


@dataclass(slots=True)
class ImageStats:
    """Totals over images. levels: int64 [3, 256], the number of pixels with each value. widths, heights: the number of
    images of each size in pixels, after the EXIF rotation.
    """

    levels: Counts = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, other: ImageStats) -> None:
        self.levels += other.levels
        self.widths += other.widths
        self.heights += other.heights
        self.formats += other.formats
        self.bytes += other.bytes

    @property
    def images(self) -> int:
        return self.widths.total()

    @property
    def mean(self) -> tuple[float, ...]:
        """Of red, green and blue over all pixels, from 0 to 1; nan without images."""
        return tuple(_mean_and_variance(channel)[0] / 255 for channel in self.levels)

    @property
    def std(self) -> tuple[float, ...]:
        """Of red, green and blue over all pixels, from 0 to 1: the population's, divided by the number of pixels."""
        return tuple(_mean_and_variance(channel)[1] ** 0.5 / 255 for channel in self.levels)


def take_inventory(source: Path, columns: Columns | None = None) -> Inventory:
    """source: a folder of images at any depth, or any file that `open_pairs` reads. columns: as for `open_pairs`.

    Raises BadInput where there are no images.
    """
    if source.is_dir():
        return _folder_inventory(source)
    pairs = open_pairs(source, columns=columns)
    texts = Counter(pairs.captions)
    # Captions mostly differ; the names of classes repeat.
    are_classes = 2 * len(texts) <= len(pairs)
    return Inventory(pairs.images, len(pairs), texts if are_classes else {}, pairs.problems)


def measure_images(
    sources: Iterable[ImageSource], *, size: int | None = None, workers: int = 2
) -> Iterator[ImageStats | Problem]:
    """Yields the figures of each image, in order. size: the edge in pixels of the square that a model would see, the
    shorter edge resized and the middle cropped; None measures the images as they are.
    """
    preprocessing = None if size is None else Preprocessing(size=size, crop=size)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode") as pool:
        for batch in batches_of(sources, _BATCH):
            yield from pool.map(partial(_measure, preprocessing), batch)


def _folder_inventory(folder: Path) -> Inventory:
    files = image_files(folder)
    if not files:
        raise BadInput(f"{str(folder)!r} has no images.")
    parts_of_each = (path.relative_to(folder).parts for path in files)
    classes = Counter(parts[0] for parts in parts_of_each if len(parts) > 1)
    loose = len(files) - classes.total() if classes else 0
    return Inventory([ImageSource.file(path) for path in files], classes=classes, loose=loose)


def _measure(preprocessing: Preprocessing | None, source: ImageSource) -> ImageStats | Problem:
    try:
        data = source.read()
        image = read_image(data, OWN_FILES, min_edge=None if preprocessing is None else detail_for(preprocessing.size))
    except (ImageRejected, EncodingFailed, OSError) as error:
        return Problem(source.name, reason_of(error))
    pixels = image.pixels if preprocessing is None else preprocessing.prepare(image.pixels, image.box)
    levels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).histogram(), np.int64).reshape(3, 256)
    sizes = Counter([image.width]), Counter([image.height])
    return ImageStats(levels, *sizes, Counter([str(sniff(data))]), len(data))


def _mean_and_variance(levels: Counts) -> tuple[float, float]:
    """Of values 0 to 255, in integers until the last division."""
    total = int(levels.sum())
    if not total:
        return float("nan"), float("nan")
    values, squares = (int(levels @ np.arange(256) ** power) for power in (1, 2))
    return values / total, (total * squares - values * values) / (total * total)
