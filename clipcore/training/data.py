"""Which pairs stand in which batch, and their pixels, decoded a batch ahead.

A batch follows from the seed and its number alone, so a resumed run needs to remember nothing. Images are prepared
as for encoding, without augmentation: CLIP itself used random crops alone, and images to be found again are rarely
cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import ImageSource, SkippedImage
from clipcore.errors import BadInput, ImageRejected
from clipcore.images.decode import OWN_FILES, read_image
from clipcore.model import ClipModel
from clipcore.models.towers import Tokens
from clipcore.types import Encoder, Pixels

Rows = npt.NDArray[np.int64]


class Order:
    """Every epoch shows each image once, in an order of its own, with one of its captions.

    So no two captions of one image meet in a batch. The last images of an epoch, too few for a batch, are left
    out; other ones each time.
    """

    def __init__(self, pairs: Pairs, batch: int, seed: int) -> None:
        """Raises BadInput where there is nothing to tell apart."""
        self._captions_of = _captions_of(pairs)
        if len(self._captions_of) < 2:
            raise BadInput("Training needs at least two images with captions.")
        self._batch = min(batch, len(self._captions_of))
        self._seed = seed
        self._drawn: tuple[int, Rows, npt.NDArray[np.float64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self._captions_of) // self._batch

    def batch(self, step: int) -> Rows:
        """int64 [batch], which captions: their images are all different ones."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order, chances = self._epoch(epoch)
        wanted = order[place * self._batch : (place + 1) * self._batch]
        return np.array([_pick(self._captions_of[index], chances[index]) for index in wanted], np.int64)

    def _epoch(self, epoch: int) -> tuple[Rows, npt.NDArray[np.float64]]:
        """Drawn once for all of its batches: a data set may have millions of images."""
        if self._drawn is None or self._drawn[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            count = len(self._captions_of)
            self._drawn = epoch, rng.permutation(count), rng.random(count)
        return self._drawn[1:]


def _captions_of(pairs: Pairs) -> list[Rows]:
    """For each image that has any, its captions."""
    by_image = np.argsort(pairs.image_of, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.image_of[by_image])) + 1
    return [rows.astype(np.int64) for rows in np.split(by_image, starts) if len(rows)]


def _pick(rows: Rows, chance: float) -> int:
    return int(rows[int(chance * len(rows))])


@dataclass(frozen=True, slots=True)
class Read:
    """An image as the model looks at it. key: equal for equal files, never 0."""

    pixels: Pixels
    key: int


class ImageReader:
    """Reads images in threads; what was asked for ahead is there sooner."""

    def __init__(self, model: Encoder, images: Sequence[ImageSource], workers: int) -> None:
        self._model = model
        self._images = images
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._ahead: dict[int, Future[Read | SkippedImage]] = {}

    def ask(self, rows: Rows) -> None:
        """rows: of images, each to be read soon. Forgets what was asked before and not read."""
        wanted = [int(row) for row in rows]
        self._ahead = {row: self._ahead.get(row) or self._pool.submit(self.read, row) for row in wanted}

    def take(self, rows: Rows) -> list[Read | SkippedImage]:
        """In the order of the rows."""
        self.ask(rows)
        return [self._ahead[int(row)].result() for row in rows]

    def read(self, row: int) -> Read | SkippedImage:
        """Raises EncodingFailed where memory is short: that is no fault of the image's, so it is not left out."""
        source = self._images[row]
        try:
            data = source.read()
            decoded = read_image(data, OWN_FILES, min_edge=self._model.card.detail)
        except ImageRejected as error:
            return SkippedImage(source, str(error), error)
        except OSError as error:
            return SkippedImage(source, f"It cannot be read: {error.strerror or type(error).__name__}.", error)
        key = int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
        return Read(self._model.prepare(decoded.pixels, decoded.box), key or 1)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def shortened(tokens: Tokens, length: int | None) -> Tokens:
    """No longer than `length` tokens; a longer text keeps its end mark, which some families read it by."""
    ids = tokens["input_ids"]
    if length is None or ids.shape[1] <= length:
        return tokens
    last = tokens["attention_mask"].sum(dim=1) - 1
    cut = {name: rows[:, :length].clone() for name, rows in tokens.items()}
    long = last >= length
    cut["input_ids"][long, length - 1] = ids[long, last[long]]
    return cut


def check_length(model: ClipModel, length: int | None) -> None:
    """Raises BadInput, and TextNotSupported where the model sees images alone."""
    tokens = model.as_tokens(["a"])
    if length is None:
        return
    if length > model.card.context_length:
        raise BadInput(f"{model.card.id!r} reads {model.card.context_length} tokens at most; {length} are too many.")
    if "attention_mask" not in tokens:
        raise BadInput(f"{model.card.id!r} always reads its whole context; leave the sequence length out.")
