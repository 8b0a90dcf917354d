"""Which pairs stand in which batch, and their pixels, decoded a batch ahead.

A batch follows from the seed and its number alone, so a resumed run needs to remember nothing. Pictures are prepared
as for encoding, without augmentation: CLIP itself used random crops alone, and pictures to be found again are rarely
cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clipcore.dataset.pairs import Pairs
from clipcore.errors import BadInput, ImageRejected
from clipcore.features import PictureSource, SkippedPicture
from clipcore.images import OWN_FILES, read_image
from clipcore.types import Box, ModelCard, Pixels

Rows = npt.NDArray[np.int64]


class Prepares(Protocol):
    """What is needed of a model here; see `ClipModel`."""

    @property
    def card(self) -> ModelCard: ...

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels: ...


class Order:
    """Every epoch shows each picture once, in an order of its own, with one of its captions.

    So no two captions of one picture meet in a batch. The last pictures of an epoch, too few for a batch, are left
    out; other ones each time.
    """

    def __init__(self, pairs: Pairs, batch: int, seed: int) -> None:
        """Raises BadInput where there is nothing to tell apart."""
        self._captions_of = _captions_of(pairs)
        if len(self._captions_of) < 2:
            raise BadInput("Training needs at least two pictures with captions.")
        self._batch = min(batch, len(self._captions_of))
        self._seed = seed
        self._drawn: tuple[int, Rows, npt.NDArray[np.float64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self._captions_of) // self._batch

    def batch(self, step: int) -> Rows:
        """int64 [batch], which captions: their pictures are all different ones."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order, chances = self._epoch(epoch)
        wanted = order[place * self._batch : (place + 1) * self._batch]
        return np.array([_pick(self._captions_of[index], chances[index]) for index in wanted], np.int64)

    def _epoch(self, epoch: int) -> tuple[Rows, npt.NDArray[np.float64]]:
        """Drawn once for all of its batches: a data set may have millions of pictures."""
        if self._drawn is None or self._drawn[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            count = len(self._captions_of)
            self._drawn = epoch, rng.permutation(count), rng.random(count)
        return self._drawn[1:]


def _captions_of(pairs: Pairs) -> list[Rows]:
    """For each picture that has any, its captions."""
    by_picture = np.argsort(pairs.picture_of, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.picture_of[by_picture])) + 1
    return [rows.astype(np.int64) for rows in np.split(by_picture, starts) if len(rows)]


def _pick(rows: Rows, chance: float) -> int:
    return int(rows[int(chance * len(rows))])


@dataclass(frozen=True, slots=True)
class Read:
    """A picture as the model looks at it. key: equal for equal files, never 0."""

    pixels: Pixels
    key: int


class PictureReader:
    """Reads pictures in threads; what was asked for ahead is there sooner."""

    def __init__(self, model: Prepares, pictures: Sequence[PictureSource], workers: int) -> None:
        self._model = model
        self._pictures = pictures
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._ahead: dict[int, Future[Read | SkippedPicture]] = {}

    def ask(self, rows: Rows) -> None:
        """rows: of pictures, each to be read soon. Forgets what was asked before and not read."""
        wanted = [int(row) for row in rows]
        self._ahead = {row: self._ahead.get(row) or self._pool.submit(self.read, row) for row in wanted}

    def take(self, rows: Rows) -> list[Read | SkippedPicture]:
        """In the order of the rows."""
        self.ask(rows)
        return [self._ahead[int(row)].result() for row in rows]

    def read(self, row: int) -> Read | SkippedPicture:
        """Raises EncodingFailed where memory is short: that is no fault of the picture's, so it is not left out."""
        source = self._pictures[row]
        try:
            data = source.read()
            decoded = read_image(data, OWN_FILES, enough=self._model.card.detail)
        except ImageRejected as error:
            return SkippedPicture(source, str(error), error)
        except OSError as error:
            return SkippedPicture(source, f"It cannot be read: {error.strerror or type(error).__name__}.", error)
        key = int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
        return Read(self._model.prepare(decoded.pixels, decoded.box), key or 1)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
