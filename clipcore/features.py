"""Many pictures -> vectors, for whatever is no server: decoding threads a few pictures ahead of the model, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from clipcore.errors import ClipError, EncodingFailed, ImageRejected
from clipcore.images import OWN_FILES, ImageLimits, read_image
from clipcore.regular_file import read_regular
from clipcore.types import Box, ModelCard, Pixels, Vectors

DEFAULT_BATCH_SIZE = 32

Batch = TypeVar("Batch", Pixels, list[str])


class PictureEncoder(Protocol):
    """What is needed of a model here; see `ClipModel`."""

    @property
    def card(self) -> ModelCard: ...

    def prepare(self, pixels: Pixels, box: Box | None = None) -> Pixels: ...

    def encode_prepared(self, batch: Pixels) -> Vectors: ...


class NotNeeded(ClipError):
    """A source's `read` raises it once it sees that nobody wants this vector, such as that of a copy."""


class TextEncoder(Protocol):
    """What is needed of a model for words; see `ClipModel`."""

    @property
    def card(self) -> ModelCard: ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors: ...


class Encoder(PictureEncoder, TextEncoder, Protocol):
    """What is needed of a model for both."""


@dataclass(frozen=True, slots=True)
class PictureSource:
    """name: what a person knows the picture by, such as a path or "row 12". read: its bytes; may raise OSError,
    ImageRejected where they are no bytes at all, and NotNeeded."""

    name: str
    read: Callable[[], bytes]

    @classmethod
    def file(cls, path: Path) -> PictureSource:
        return cls(str(path), partial(read_regular, path))


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """vector: float32 [dim], unit length; width, height: pixels after the EXIF turn."""

    source: PictureSource
    vector: Vectors
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SkippedPicture:
    """reason: one sentence. cause: what reading or decoding raised."""

    source: PictureSource
    reason: str
    cause: Exception


@dataclass(frozen=True, slots=True)
class _Prepared:
    source: PictureSource
    pixels: Pixels
    width: int
    height: int


def encode_pictures(
    model: PictureEncoder,
    sources: Iterable[PictureSource],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    limits: ImageLimits = OWN_FILES,
    whole: bool = False,
) -> Generator[EncodedPicture | SkippedPicture, None, None]:
    """One outcome a source, in their order. Memory: a few batches of what the model looks at, and one picture a worker.

    whole: decode large pictures at their full size, as whoever published figures did; it takes several times as long,
    and moves a vector a little.
    A picture that cannot be read or decoded is skipped, and so is one whose vector is no direction (NaN, infinity).
    Raises EncodingFailed where the device has not even memory for one, and what else the model raises. Stopping early
    leaves nothing running: the threads end with the generator.
    """

    def prepare(source: PictureSource) -> _Prepared | SkippedPicture:
        try:
            decoded = read_image(source.read(), limits, enough=None if whole else lambda: model.card.detail)
        except (ImageRejected, EncodingFailed, NotNeeded) as error:
            return SkippedPicture(source, str(error), error)
        except OSError as error:
            return SkippedPicture(source, f"It cannot be read: {error.strerror or type(error).__name__}.", error)
        return _Prepared(source, model.prepare(decoded.pixels, decoded.box), decoded.width, decoded.height)

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
    try:
        prepared = _ahead(pool, prepare, iter(sources), 2 * batch_size)
        while batch := list(islice(prepared, batch_size)):
            yield from _encode(model, batch)
    finally:
        pool.shutdown(cancel_futures=True)


def encode_words(
    model: TextEncoder, texts: Iterable[str], *, batch_size: int = DEFAULT_BATCH_SIZE
) -> Iterator[Vectors]:
    """One float32 [dim], unit length, a text, in their order, a batch at a time.

    Raises EncodingFailed where the device has not even memory for one, and what else the model raises.
    """
    remaining = iter(texts)
    while batch := list(islice(remaining, batch_size)):
        yield from _halving(model.encode_texts, batch)


def _ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[PictureSource], _Prepared | SkippedPicture],
    sources: Iterator[PictureSource],
    ahead: int,
) -> Iterator[_Prepared | SkippedPicture]:
    waiting: deque[Future[_Prepared | SkippedPicture]] = deque()
    for source in sources:
        waiting.append(pool.submit(prepare, source))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _encode(
    model: PictureEncoder, batch: list[_Prepared | SkippedPicture]
) -> Iterator[EncodedPicture | SkippedPicture]:
    ready = [one.pixels for one in batch if isinstance(one, _Prepared)]
    vectors = iter(_halving(model.encode_prepared, np.stack(ready)) if ready else ())
    for one in batch:
        yield _encoded(one, next(vectors)) if isinstance(one, _Prepared) else one


def _encoded(one: _Prepared, vector: Vectors) -> EncodedPicture | SkippedPicture:
    if np.isfinite(vector).all():
        return EncodedPicture(one.source, vector, one.width, one.height)
    failed = EncodingFailed("The model found no vector for it; another precision may help.")
    return SkippedPicture(one.source, str(failed), failed)


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
