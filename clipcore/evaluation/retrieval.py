"""Finding the images that a text tells of, and the texts that tell of an image, among all of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import Gathered
from clipcore.evaluation import TIE
from clipcore.types import Vectors

CUTOFFS = (1, 5, 10)
# Scores held at a time: 4 million, 16 MiB, and as much again while they are compared.
_SCORES_AT_ONCE = 4 * 1024 * 1024
_OWN_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Recall:
    """One direction. at: for each of CUTOFFS the share of queries whose answer is among so many best, 0 to 1.

    median_rank: the middle query's place of its best answer, from 1.
    """

    queries: int
    at: dict[int, float]
    median_rank: float

    @property
    def mean(self) -> float:
        """The mean of the three, which EasyNLP and Chinese-CLIP call mean recall."""
        return sum(self.at.values()) / len(self.at)


@dataclass(frozen=True, slots=True)
class Queries:
    """texts: each once. image_of, text_of: int64 [pairs], rows of the gathered images and of `texts`."""

    texts: list[str]
    image_of: npt.NDArray[np.int64]
    text_of: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """image_to_text: any of an image's texts will do. text_to_image: any of a text's images; mostly it has but one.

    A text of several images is one query, as in MUGE. Captions of different images that happen to read alike are
    not one text: the published figures on Flickr30k and COCO do not merge them either.
    """

    image_to_text: Recall
    text_to_image: Recall

    @property
    def mean(self) -> float:
        """Of all six recalls."""
        return (self.image_to_text.mean + self.text_to_image.mean) / 2


def queries_for(gathered: Gathered, pairs: Pairs) -> Queries:
    """gathered: the images that could be read. Texts of others take no part."""
    readable = np.flatnonzero(np.isin(pairs.image_of, gathered.rows))
    told = np.arange(len(pairs)) if pairs.text_of is None else pairs.text_of
    _, first, text_of = np.unique(told[readable], return_index=True, return_inverse=True)
    return Queries(
        texts=[pairs.captions[row] for row in readable[first].tolist()],
        image_of=np.searchsorted(gathered.rows, pairs.image_of[readable]),
        text_of=text_of.astype(np.int64),
    )


def measure_retrieval(
    images: Vectors,
    texts: Vectors,
    image_of: npt.NDArray[np.int64],
    text_of: npt.NDArray[np.int64] | None = None,
) -> Retrieval:
    """images: float32 [n, dim]; texts: float32 [m, dim], unit length. image_of, text_of: int64 [pairs], rows of
    both that belong together; no text_of where each text has its one image.

    An image without texts is only there to be confused with. Ties count against (see the package). Memory: the
    vectors and a bounded block of scores, whatever n x m is; 30,000 images and 150,000 captions take it too.
    """
    to_text, to_image = ranks(images, texts, image_of, np.arange(len(texts)) if text_of is None else text_of)
    return Retrieval(image_to_text=_recall(to_text), text_to_image=_recall(to_image))


def ranks(
    images: Vectors,
    texts: Vectors,
    image_of: npt.NDArray[np.int64],
    text_of: npt.NDArray[np.int64],
    *,
    at_once: int = _SCORES_AT_ONCE,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many wrong answers come before the best right one: for each image with texts, and for each text.

    Each score is computed once and serves both directions. Returns int64 [images with texts] and int64 [m].
    """
    own = _own_scores(images, texts, image_of, text_of)
    best_text = np.full(len(images), -np.inf, np.float32)
    np.maximum.at(best_text, image_of, own)
    best_image = np.full(len(texts), -np.inf, np.float32)
    np.maximum.at(best_image, text_of, own)
    before_text = np.zeros(len(images), np.int64)
    before_image = np.zeros(len(texts), np.int64)
    rows = max(1, at_once // max(1, len(texts)))
    for start in range(0, len(images), rows):
        block = slice(start, start + rows)
        scores = images[block] @ texts.T
        inside = np.flatnonzero((image_of >= start) & (image_of < start + rows))
        scores[image_of[inside] - start, text_of[inside]] = -np.inf  # right answers do not stand in their own way
        before_text[block] = _not_below(scores, best_text[block, None] - TIE).sum(axis=1)
        before_image += _not_below(scores, best_image[None] - TIE).sum(axis=0)
    return before_text[np.unique(image_of)], before_image


def _own_scores(
    images: Vectors, texts: Vectors, image_of: npt.NDArray[np.int64], text_of: npt.NDArray[np.int64]
) -> Vectors:
    """float32 [pairs]: minus infinity where a score is no number. A part at a time: the vectors of all pairs at once
    would take as much memory again.
    """
    own = np.empty(len(image_of), np.float32)
    for start in range(0, len(own), _OWN_AT_ONCE):
        part = slice(start, start + _OWN_AT_ONCE)
        own[part] = np.einsum("ij,ij->i", texts[text_of[part]], images[image_of[part]])
    return np.nan_to_num(own, nan=-np.inf, copy=False)


def _not_below(scores: Vectors, bound: Vectors) -> npt.NDArray[np.bool_]:
    """What is no number is not below anything, so that it counts against."""
    return ~(scores < bound)


def _recall(before: npt.NDArray[np.int64]) -> Recall:
    queries = len(before)
    at = {cutoff: float(np.mean(before < cutoff)) if queries else 0.0 for cutoff in CUTOFFS}
    return Recall(queries, at, float(np.median(before)) + 1 if queries else 0.0)
