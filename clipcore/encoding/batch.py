"""Encodes many images and texts in order and in constant memory; threads decode a few images ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, tee
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.batching import DEFAULT_BATCH_SIZE, batches_of, encode_halving
from clipcore.errors import BadInput, ClipError, EncodingFailed, ImageRejected
from clipcore.files import read_regular
from clipcore.images.decode import OWN_FILES, ImageLimits, read_image
from clipcore.types import Encoder, Pixels, Vectors


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image that is read when needed. name: for messages, such as a path or "row 12". read: returns the image's
    bytes; raises OSError, BadInput or ImageRejected where the source holds no image, and NotNeeded.
    """

    name: str
    read: Callable[[], bytes]

    @classmethod
    def file(cls, path: Path) -> ImageSource:
        return cls(str(path), partial(read_regular, path))


class NotNeeded(ClipError):
    """Raised by a source's `read` to skip an image whose embedding is not needed, such as a copy."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """name: the source's. embedding: float32 [dim], unit length; width, height: pixels after the EXIF rotation."""

    name: str
    embedding: Vectors
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A row or file that was skipped. name: for messages, such as "row 12" or a path; reason: one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SkippedImage(Problem):
    """cause: what reading, decoding or encoding raised. Its traceback holds the image, so these are not collected."""

    cause: Exception


ImageOutcome = EncodedImage | SkippedImage
OnProblem = Callable[[Problem], object]


def encode_sources(
    model: Encoder,
    sources: Iterable[ImageSource],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    limits: ImageLimits = OWN_FILES,
    full_resolution: bool = False,
) -> Generator[ImageOutcome, None, None]:
    """Yields one outcome for each source, in order. Memory: a few batches of prepared images, and one image a worker.

    full_resolution: decode large images at full size, as published benchmarks do; it takes several times as long and
    changes an embedding slightly. An image is skipped if it cannot be read or decoded, or if its embedding is not
    finite. Raises BadInput for a batch size below 1, EncodingFailed where the device has too little memory for a single
    image, and what else the model raises. Closing the generator early ends its threads.
    """

    def prepare(source: ImageSource) -> _Prepared | SkippedImage:
        try:
            data = source.read()
        except (BadInput, ImageRejected, NotNeeded, OSError) as error:
            return SkippedImage(source.name, reason_of(error), error)
        try:
            # Asking for the card may load the model, and what that raises says nothing of the image.
            decoded = read_image(data, limits, min_edge=None if full_resolution else lambda: model.card.detail)
        except (ImageRejected, EncodingFailed) as error:
            return SkippedImage(source.name, reason_of(error), error)
        return _Prepared(source.name, model.prepare(decoded.pixels, decoded.box), decoded.width, decoded.height)

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
    try:
        for batch in batches_of(_prepared_ahead(pool, prepare, sources, 2 * batch_size), batch_size):
            yield from _encode(model, batch)
    finally:
        pool.shutdown(cancel_futures=True)


def reason_of(error: Exception) -> str:
    """Says in one sentence why an image was skipped, from the exception that reading it raised."""
    if isinstance(error, OSError):
        return f"It cannot be read: {error.strerror or type(error).__name__}."
    return str(error)


@dataclass(frozen=True, slots=True)
class Gathered:
    """embeddings: float32 [k, dim]. rows: int64 [k], the number of each one's source; skipped sources are missing."""

    embeddings: Vectors
    rows: npt.NDArray[np.int64]


def gather(outcomes: Iterable[ImageOutcome], dimension: int, on_skip: OnProblem) -> Gathered:
    """Collects the embeddings of all images. outcomes: as `encode_sources` yields them."""
    encoded = [(outcome.embedding, row) for row, outcome in without_skipped(outcomes, on_skip)]
    embeddings = np.stack([embedding for embedding, _ in encoded]) if encoded else np.empty((0, dimension), np.float32)
    return Gathered(embeddings, np.array([row for _, row in encoded], np.int64))


def without_skipped(outcomes: Iterable[ImageOutcome], on_skip: OnProblem) -> Iterator[tuple[int, EncodedImage]]:
    """Yields the images that were encoded, each with the number of its source."""
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, EncodedImage):
            yield row, outcome
        else:
            on_skip(outcome)


@dataclass(frozen=True, slots=True)
class RowSource:
    """What a row of the output is made from: an image, whose bytes `image` returns, or a text. columns: the texts to
    write beside the embedding. problem: a sentence where there is no text to encode.
    """

    name: str
    columns: tuple[str, ...]
    image: Callable[[], bytes] | None = None
    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """embedding: float32 [dim], unit length; None where there was a problem."""

    name: str
    embedding: Vectors | None
    columns: tuple[str, ...] = ()
    problem: Problem | None = None


def encode_rows(
    model: Encoder,
    sources: Iterable[RowSource],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    full_resolution: bool = False,
) -> Iterator[EncodedRow]:
    """Yields one row for each source, in order. Memory: a few batches. Raises as `encode_sources`, and what the model
    raises for texts.
    """
    for are_images, run in groupby(sources, key=lambda source: source.image is not None):
        if not are_images:
            yield from _encode_texts(model, run, batch_size)
            continue
        named, read = tee(run)
        images = (ImageSource(source.name, source.image) for source in read if source.image)
        outcomes = encode_sources(
            model, images, batch_size=batch_size, workers=workers, full_resolution=full_resolution
        )
        for source, outcome in zip(named, outcomes, strict=True):
            if isinstance(outcome, EncodedImage):
                yield EncodedRow(source.name, outcome.embedding, source.columns)
            else:
                yield EncodedRow(source.name, None, source.columns, Problem(source.name, outcome.reason))


def _encode_texts(model: Encoder, sources: Iterable[RowSource], batch_size: int) -> Iterator[EncodedRow]:
    for batch in batches_of(sources, batch_size):
        texts = [source.text for source in batch if not source.problem]
        embeddings = iter(encode_halving(model.encode_texts, texts) if texts else ())
        for source in batch:
            if source.problem:
                yield EncodedRow(source.name, None, source.columns, Problem(source.name, source.problem))
            else:
                yield EncodedRow(source.name, next(embeddings), source.columns)


@dataclass(frozen=True, slots=True)
class _Prepared:
    name: str
    pixels: Pixels
    width: int
    height: int


def _prepared_ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[ImageSource], _Prepared | SkippedImage],
    sources: Iterable[ImageSource],
    ahead: int,
) -> Iterator[_Prepared | SkippedImage]:
    """Prepares images in the pool, at most `ahead` of the one that is taken."""
    waiting: deque[Future[_Prepared | SkippedImage]] = deque()
    for source in sources:
        waiting.append(pool.submit(prepare, source))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _encode(model: Encoder, batch: list[_Prepared | SkippedImage]) -> Iterator[ImageOutcome]:
    ready = [image.pixels for image in batch if isinstance(image, _Prepared)]
    embeddings: Iterator[Vectors] = iter(encode_halving(model.encode_prepared, np.stack(ready)) if ready else ())
    for image in batch:
        if isinstance(image, SkippedImage):
            yield image
        elif np.isfinite(embedding := next(embeddings)).all():
            yield EncodedImage(image.name, embedding, image.width, image.height)
        else:
            error = EncodingFailed("The model's embedding of it is not finite; another precision may help.")
            yield SkippedImage(image.name, str(error), error)
