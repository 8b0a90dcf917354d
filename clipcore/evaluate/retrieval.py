"""Finding the picture that a caption tells of, and the captions that tell of a picture, among all of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.evaluate import TIE
from clipcore.evaluate.pictures import Gathered
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
class Retrieval:
    """image_to_text: any of a picture's captions will do. text_to_image: each caption looks for its one picture."""

    image_to_text: Recall
    text_to_image: Recall

    @property
    def mean(self) -> float:
        """Of all six recalls."""
        return (self.image_to_text.mean + self.text_to_image.mean) / 2


def measure_captions(
    gathered: Gathered,
    captions: Sequence[str],
    picture_of: npt.NDArray[np.int64],
    encode: Callable[[Sequence[str]], Vectors],
) -> Retrieval:
    """gathered: the pictures that could be read. picture_of: int64 [captions], rows of all pictures.

    Captions of pictures that could not be read take no part and are not encoded.
    """
    readable = np.flatnonzero(np.isin(picture_of, gathered.rows))
    vectors = encode([captions[row] for row in readable.tolist()])
    return measure_retrieval(gathered.vectors, vectors, np.searchsorted(gathered.rows, picture_of[readable]))


def measure_retrieval(pictures: Vectors, captions: Vectors, picture_of: npt.NDArray[np.int64]) -> Retrieval:
    """pictures: float32 [n, dim]; captions: float32 [m, dim], unit length; picture_of: int64 [m], rows of `pictures`.

    A picture without captions is only there to be confused with. Ties count against (see the package). Memory: the
    vectors and a bounded block of scores, whatever n x m is; 30,000 pictures and 150,000 captions take it too.
    """
    to_caption, to_picture = ranks(pictures, captions, picture_of)
    return Retrieval(image_to_text=_recall(to_caption), text_to_image=_recall(to_picture))


def ranks(
    pictures: Vectors, captions: Vectors, picture_of: npt.NDArray[np.int64], *, at_once: int = _SCORES_AT_ONCE
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many wrong answers come before the best right one: for each picture with captions, and for each caption.

    Each score is computed once and serves both directions. Returns int64 [pictures with captions] and int64 [m].
    """
    own = _own_scores(pictures, captions, picture_of)
    best_own = np.full(len(pictures), -np.inf, np.float32)
    np.maximum.at(best_own, picture_of, own)
    before_picture = np.zeros(len(captions), np.int64)
    before_caption = np.zeros(len(pictures), np.int64)
    rows = max(1, at_once // max(1, len(captions)))
    for start in range(0, len(pictures), rows):
        block = slice(start, start + rows)
        scores = pictures[block] @ captions.T
        inside = np.flatnonzero((picture_of >= start) & (picture_of < start + rows))
        scores[picture_of[inside] - start, inside] = -np.inf  # right answers do not stand in their own way
        before_caption[block] = _not_below(scores, best_own[block, None] - TIE).sum(axis=1)
        before_picture += _not_below(scores, own[None] - TIE).sum(axis=0)
    return before_caption[np.unique(picture_of)], before_picture


def _own_scores(pictures: Vectors, captions: Vectors, picture_of: npt.NDArray[np.int64]) -> Vectors:
    """float32 [m]: each caption's with its own picture, minus infinity where that is no number. A part at a time: all
    the captions' pictures at once would take as much memory as the captions.
    """
    own = np.empty(len(captions), np.float32)
    for start in range(0, len(captions), _OWN_AT_ONCE):
        part = slice(start, start + _OWN_AT_ONCE)
        own[part] = np.einsum("ij,ij->i", captions[part], pictures[picture_of[part]])
    return np.nan_to_num(own, nan=-np.inf, copy=False)


def _not_below(scores: Vectors, bound: Vectors) -> npt.NDArray[np.bool_]:
    """What is no number is not below anything, so that it counts against."""
    return ~(scores < bound)


def _recall(before: npt.NDArray[np.int64]) -> Recall:
    queries = len(before)
    at = {cutoff: float(np.mean(before < cutoff)) if queries else 0.0 for cutoff in CUTOFFS}
    return Recall(queries, at, float(np.median(before)) + 1 if queries else 0.0)
