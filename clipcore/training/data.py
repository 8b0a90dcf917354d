"""Which pairs make up each batch, and their pixels, decoded a batch ahead.

A batch depends on the seed and its number only, so a resumed run needs no state for it. Images are prepared as for
encoding, without augmentation: CLIP itself used random crops only, and images to be found again are rarely cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import ImageSource, SkippedImage, reason_of
from clipcore.errors import BadInput, ImageRejected
from clipcore.images.decode import OWN_FILES, read_image
from clipcore.model import ClipModel
from clipcore.models.towers import Tokens
from clipcore.types import Encoder, Pixels

Rows = npt.NDArray[np.int64]


class BatchOrder:
    """Shows each image once an epoch, in a random order, with one of its captions.

    So a batch never has two captions of one image. The last images of an epoch, too few for a batch, are left out;
    they differ each time.
    """

    def __init__(self, pairs: Pairs, batch_size: int, seed: int) -> None:
        """Raises BadInput where fewer than two images have captions."""
        self._by_image = np.argsort(pairs.image_of, kind="stable")
        _, self._starts, self._counts = np.unique(pairs.image_of[self._by_image], return_index=True, return_counts=True)
        if len(self._starts) < 2:
            raise BadInput("Training needs at least two images with captions.")
        self._batch_size = min(batch_size, len(self._starts))
        self._seed = seed
        self._epoch = -1

    @property
    def steps_per_epoch(self) -> int:
        return len(self._starts) // self._batch_size

    def batch(self, step: int) -> Rows:
        """int64 [batch]: the rows of captions of different images."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # kept for all of its batches: a data set may have millions of images
            self._epoch, self._captions = epoch, self._draw(epoch)
        return self._captions[place * self._batch_size : (place + 1) * self._batch_size]

    def _draw(self, epoch: int) -> Rows:
        """One caption of each image, the images in random order."""
        rng = np.random.default_rng([self._seed, epoch])
        order, chances = rng.permutation(len(self._starts)), rng.random(len(self._starts))
        return self._by_image[self._starts + (chances * self._counts).astype(np.int64)][order]


@dataclass(frozen=True, slots=True)
class ReadImage:
    """pixels: uint8 [s, s, 3], the model's input size. key: equal for equal files, never 0."""

    pixels: Pixels
    key: int


class ImageReader:
    """Reads and prepares images in threads; `prefetch` starts before they are needed."""

    def __init__(self, model: Encoder, images: Sequence[ImageSource], workers: int) -> None:
        self._model = model
        self._images = images
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._pending: dict[int, Future[ReadImage | SkippedImage]] = {}

    def prefetch(self, rows: Rows) -> None:
        """rows: of images to read next. Forgets those that were requested before and are not among them."""
        wanted = [int(row) for row in rows]
        self._pending = {row: self._pending.get(row) or self._pool.submit(self.read, row) for row in wanted}

    def take(self, rows: Rows) -> list[ReadImage | SkippedImage]:
        """In the order of the rows."""
        self.prefetch(rows)
        return [self._pending[int(row)].result() for row in rows]

    def read(self, row: int) -> ReadImage | SkippedImage:
        """Raises EncodingFailed where memory is short: that is not the image's fault, so it is not skipped."""
        source = self._images[row]
        try:
            data = source.read()
            decoded = read_image(data, OWN_FILES, min_edge=self._model.card.detail)
        except (ImageRejected, OSError) as error:
            return SkippedImage(source.name, reason_of(error), error)
        key = int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
        return ReadImage(self._model.prepare(decoded.pixels, decoded.box), key or 1)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def shortened(tokens: Tokens, length: int | None) -> Tokens:
    """Cuts texts to `length` tokens. A longer text keeps its end token, from which some families read the text."""
    ids = tokens["input_ids"]
    if length is None or ids.shape[1] <= length:
        return tokens
    last = tokens["attention_mask"].sum(dim=1) - 1
    cut = {name: rows[:, :length].clone() for name, rows in tokens.items()}
    long = last >= length
    cut["input_ids"][long, length - 1] = ids[long, last[long]]
    return cut


def check_length(model: ClipModel, length: int | None) -> None:
    """Raises BadInput where texts cannot be cut to `length`, and TextNotSupported for an image-only model."""
    tokens = model.as_tokens(["a"])
    if length is None:
        return
    if length > model.card.context_length:
        raise BadInput(f"{model.card.id!r} reads {model.card.context_length} tokens at most; {length} are too many.")
    if "attention_mask" not in tokens:
        raise BadInput(f"{model.card.id!r} always reads its whole context; leave the sequence length out.")
