"""How well a model finds the pictures of a held-out set, and where its cosines begin to mean something there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.dataset.pairs import Pairs
from clipcore.errors import BadInput
from clipcore.evaluate.retrieval import Retrieval, measure_retrieval
from clipcore.features import EncodedPicture, encode_pictures
from clipcore.model import ClipModel
from clipcore.types import Vectors

GALLERY = 40
FOOLED = 0.1


@dataclass(frozen=True, slots=True)
class Validated:
    """text_match: the least cosine of words and a picture that counts as found, None where the set is too small to
    tell: the lowest that lets the best of GALLERY other pictures pass FOOLED of the time, as the bundled model's."""

    retrieval: Retrieval
    text_match: float | None


def validate(model: ClipModel, pairs: Pairs, batch_size: int, on_skip: Callable[[str, str], None]) -> Validated:
    """Raises BadInput where no picture can be read."""
    vectors: list[Vectors] = []
    place = np.full(len(pairs.pictures), -1)
    for row, outcome in enumerate(encode_pictures(model, pairs.pictures, batch_size=batch_size)):
        if isinstance(outcome, EncodedPicture):
            place[row] = len(vectors)
            vectors.append(outcome.vector)
        else:
            on_skip(outcome.source.name, outcome.reason)
    if not vectors:
        raise BadInput("None of the validation pictures can be read.")
    kept = np.flatnonzero(place[pairs.picture_of] >= 0)
    picture_of = place[pairs.picture_of[kept]]
    captions = _encode_texts(model, [pairs.captions[int(row)] for row in kept], batch_size)
    pictures = np.stack(vectors)
    return Validated(measure_retrieval(pictures, captions, picture_of), _text_match(pictures, captions, picture_of))


def _encode_texts(model: ClipModel, texts: Sequence[str], batch_size: int) -> Vectors:
    starts = range(0, len(texts), batch_size)
    return np.concatenate([model.encode_texts(texts[start : start + batch_size]) for start in starts])


def _text_match(pictures: Vectors, captions: Vectors, picture_of: npt.NDArray[np.int64]) -> float | None:
    if len(pictures) <= GALLERY:
        return None
    rng = np.random.default_rng(0)
    best = []
    for caption, own in zip(captions, picture_of, strict=True):
        others = rng.permutation(len(pictures))[: GALLERY + 1]
        best.append((pictures[others[others != own][:GALLERY]] @ caption).max())
    return round(float(np.quantile(best, 1 - FOOLED)), 3)
