"""What came of each picture, gathered or counted while it streams by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.evaluate.classification import Classification, Tally
from clipcore.features import EncodedPicture, SkippedPicture
from clipcore.types import Vectors

Outcomes = Iterable[EncodedPicture | SkippedPicture]
Skip = Callable[[SkippedPicture], None]

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Gathered:
    """vectors: float32 [k, dim]. rows: int64 [k], which of the sources each is of; those skipped are missing."""

    vectors: Vectors
    rows: npt.NDArray[np.int64]


def gather(outcomes: Outcomes, dimension: int, skip: Skip) -> Gathered:
    """outcomes: one a source, in order, as `encode_pictures` gives them. skip: told of each that was skipped."""
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

    Memory: a few hundred vectors and scores, however many pictures there are.
    """
    tally = Tally(classes)
    for part in _parts(outcomes, skip):
        tally.add(scores(part.vectors), class_of[part.rows])
    return tally.result()


def _parts(outcomes: Outcomes, skip: Skip) -> Iterator[Gathered]:
    vectors: list[Vectors] = []
    rows: list[int] = []
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, SkippedPicture):
            skip(outcome)
            continue
        vectors.append(outcome.vector)
        rows.append(row)
        if len(rows) == _AT_ONCE:
            yield Gathered(np.stack(vectors), np.array(rows, np.int64))
            vectors, rows = [], []
    if rows:
        yield Gathered(np.stack(vectors), np.array(rows, np.int64))
