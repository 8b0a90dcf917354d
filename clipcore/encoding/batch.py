"""Many images -> vectors, for whatever is no server: decoding threads a few images ahead of the model, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from clipcore.errors import ClipError, EncodingFailed, ImageRejected
from clipcore.evaluation.classification import Classification, Tally
from clipcore.files import read_regular
from clipcore.images.decode import OWN_FILES, ImageLimits, read_image
from clipcore.types import Encoder, Pixels, Vectors

DEFAULT_BATCH_SIZE = 32

Batch = TypeVar("Batch", Pixels, list[str])


class NotNeeded(ClipError):
    """A source's `read` raises it once it sees that nobody wants this vector, such as that of a copy."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """name: what a person knows the image by, such as a path or "row 12". read: its bytes; may raise OSError,
    ImageRejected where they are no bytes at all, and NotNeeded."""

    name: str
    read: Callable[[], bytes]

    @classmethod
    def file(cls, path: Path) -> ImageSource:
        return cls(str(path), partial(read_regular, path))


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """vector: float32 [dim], unit length; width, height: pixels after the EXIF turn."""

    source: ImageSource
    vector: Vectors
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """reason: one sentence. cause: what reading or decoding raised."""

    source: ImageSource
    reason: str
    cause: Exception


@dataclass(frozen=True, slots=True)
class _Prepared:
    source: ImageSource
    pixels: Pixels
    width: int
    height: int


def encode_images(
    model: Encoder,
    sources: Iterable[ImageSource],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    limits: ImageLimits = OWN_FILES,
    whole: bool = False,
) -> Generator[EncodedImage | SkippedImage, None, None]:
    """One outcome a source, in their order. Memory: a few batches of what the model looks at, and one image a worker.

    whole: decode large images at their full size, as whoever published figures did; it takes several times as long,
    and moves a vector a little.
    An image that cannot be read or decoded is skipped, and so is one whose vector is no direction (NaN, infinity).
    Raises EncodingFailed where the device has not even memory for one, and what else the model raises. Stopping early
    leaves nothing running: the threads end with the generator.
    """

    def prepare(source: ImageSource) -> _Prepared | SkippedImage:
        try:
            decoded = read_image(source.read(), limits, enough=None if whole else lambda: model.card.detail)
        except (ImageRejected, EncodingFailed, NotNeeded) as error:
            return SkippedImage(source, str(error), error)
        except OSError as error:
            return SkippedImage(source, f"It cannot be read: {error.strerror or type(error).__name__}.", error)
        return _Prepared(source, model.prepare(decoded.pixels, decoded.box), decoded.width, decoded.height)

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
    try:
        prepared = _ahead(pool, prepare, iter(sources), 2 * batch_size)
        while batch := list(islice(prepared, batch_size)):
            yield from _encode(model, batch)
    finally:
        pool.shutdown(cancel_futures=True)


def encode_words(model: Encoder, texts: Iterable[str], *, batch_size: int = DEFAULT_BATCH_SIZE) -> Iterator[Vectors]:
    """One float32 [dim], unit length, a text, in their order, a batch at a time.

    Raises EncodingFailed where the device has not even memory for one, and what else the model raises.
    """
    remaining = iter(texts)
    while batch := list(islice(remaining, batch_size)):
        yield from _halving(model.encode_texts, batch)


def _ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[ImageSource], _Prepared | SkippedImage],
    sources: Iterator[ImageSource],
    ahead: int,
) -> Iterator[_Prepared | SkippedImage]:
    waiting: deque[Future[_Prepared | SkippedImage]] = deque()
    for source in sources:
        waiting.append(pool.submit(prepare, source))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _encode(model: Encoder, batch: list[_Prepared | SkippedImage]) -> Iterator[EncodedImage | SkippedImage]:
    ready = [one.pixels for one in batch if isinstance(one, _Prepared)]
    vectors = iter(_halving(model.encode_prepared, np.stack(ready)) if ready else ())
    for one in batch:
        yield _encoded(one, next(vectors)) if isinstance(one, _Prepared) else one


def _encoded(one: _Prepared, vector: Vectors) -> EncodedImage | SkippedImage:
    if np.isfinite(vector).all():
        return EncodedImage(one.source, vector, one.width, one.height)
    failed = EncodingFailed("The model found no vector for it; another precision may help.")
    return SkippedImage(one.source, str(failed), failed)


def _halving(encode: Callable[[Batch], Vectors], batch: Batch) -> Vectors:
    """Halves a batch that the device has no memory for."""
    try:
        return encode(batch)
    except MemoryError as error:
        if len(batch) == 1:
            raise EncodingFailed(
                "The device has too little memory even for one at a time; choose another device, or a smaller model."
            ) from error
    middle = len(batch) // 2
    return np.concatenate([_halving(encode, batch[:middle]), _halving(encode, batch[middle:])])


Outcomes = Iterable[EncodedImage | SkippedImage]
Skip = Callable[[SkippedImage], None]

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Gathered:
    """vectors: float32 [k, dim]. rows: int64 [k], which of the sources each is of; those skipped are missing."""

    vectors: Vectors
    rows: npt.NDArray[np.int64]


def gather(outcomes: Outcomes, dimension: int, skip: Skip) -> Gathered:
    """outcomes: one a source, in order, as `encode_images` gives them. skip: told of each that was skipped."""
    parts = list(_parts(outcomes, skip))
    return Gathered(
        vectors=np.concatenate([part.vectors for part in parts]) if parts else np.empty((0, dimension), np.float32),
        rows=np.concatenate([part.rows for part in parts]) if parts else np.empty(0, np.int64),
    )


def classify_all(
    outcomes: Outcomes,
    class_of: npt.NDArray[np.int64],
    classes: Sequence[str],
    scores: Callable[[Vectors], Vectors],
    skip: Skip,
) -> Classification:
    """outcomes: one a source, in order. class_of: int64 [sources]. scores: vectors [n, dim] -> [n, classes].

    Memory: a few hundred vectors and scores, however many images there are.
    """
    tally = Tally(classes)
    for part in _parts(outcomes, skip):
        tally.add(scores(part.vectors), class_of[part.rows])
    return tally.result()


def _parts(outcomes: Outcomes, skip: Skip) -> Iterator[Gathered]:
    vectors: list[Vectors] = []
    rows: list[int] = []
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, SkippedImage):
            skip(outcome)
            continue
        vectors.append(outcome.vector)
        rows.append(row)
        if len(rows) == _AT_ONCE:
            yield Gathered(np.stack(vectors), np.array(rows, np.int64))
            vectors, rows = [], []
    if rows:
        yield Gathered(np.stack(vectors), np.array(rows, np.int64))
