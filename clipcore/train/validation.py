"""How well a model finds the pictures of a held-out set, and where its cosines begin to mean something there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.dataset.pairs import Pairs
from clipcore.errors import BadInput
from clipcore.evaluate.pictures import gather
from clipcore.evaluate.retrieval import Retrieval, measure_retrieval, queries_for
from clipcore.features import encode_pictures, encode_words
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
    outcomes = encode_pictures(model, pairs.pictures, batch_size=batch_size, whole=True)
    seen = gather(outcomes, model.card.dimension, lambda skipped: on_skip(skipped.source.name, skipped.reason))
    asked = queries_for(seen, pairs)
    if not asked.texts:
        raise BadInput("None of the validation pictures can be read.")
    texts = np.stack(list(encode_words(model, asked.texts, batch_size=batch_size)))
    return Validated(
        measure_retrieval(seen.vectors, texts, asked.picture_of, asked.text_of),
        _text_match(seen.vectors, texts[asked.text_of], asked.picture_of),
    )


def _text_match(pictures: Vectors, captions: Vectors, picture_of: npt.NDArray[np.int64]) -> float | None:
    if len(pictures) <= GALLERY:
        return None
    rng = np.random.default_rng(0)
    best = []
    for caption, own in zip(captions, picture_of, strict=True):
        others = rng.permutation(len(pictures))[: GALLERY + 1]
        best.append((pictures[others[others != own][:GALLERY]] @ caption).max())
    return round(float(np.quantile(best, 1 - FOOLED)), 3)
