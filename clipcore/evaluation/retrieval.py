"""Text-to-image and image-to-text retrieval: recall over all images and captions of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcore.batching import DEFAULT_BATCH_SIZE, encode_texts
from clipcore.datasets.pairs import Pairs
from clipcore.encoding.batch import Gathered, OnProblem, encode_sources, gather
from clipcore.errors import BadInput, TextNotSupported
from clipcore.evaluation import TIE
from clipcore.types import Encoder, Vectors

Rows = npt.NDArray[np.int64]
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]

CUTOFFS = (1, 5, 10)
GALLERY = 40
MAX_FALSE_MATCHES = 0.1
# Scores in memory at a time: 4 million, 16 MiB, and as much again while they are compared.
_SCORES_AT_ONCE = 4 * 1024 * 1024
_OWN_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Recall:
    """One direction. at: for each of CUTOFFS, the share of queries, 0 to 1, with a right answer among so many best.

    median_rank: the median rank of each query's best right answer, from 1.
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
    """image_to_text: any of an image's texts is right. text_to_image: any of a text's images is; most have one.

    A text of several images is one query, as in MUGE. Equal captions of different images are queries of their own: the
    published figures on Flickr30k and COCO do not merge them either.
    """

    image_to_text: Recall
    text_to_image: Recall

    @property
    def mean(self) -> float:
        """Of all six recalls."""
        return (self.image_to_text.mean + self.text_to_image.mean) / 2


@dataclass(frozen=True, slots=True)
class EvaluatedRetrieval:
    """images: the embeddings of the images that could be read. texts: float32 [queries, dim], each text once. image_of,
    text_of: [pairs], rows of `images` and `texts` that match.
    """

    result: Retrieval
    images: Gathered
    texts: Vectors
    image_of: Rows
    text_of: Rows

    def text_threshold(self) -> float | None:
        """Estimates the least cosine of a text and an image that counts as a match: the best of GALLERY other images
        exceeds it MAX_FALSE_MATCHES of the time, as for the bundled model. None where there are too few images.
        """
        images = self.images.embeddings
        if len(images) <= GALLERY:
            return None
        rng = np.random.default_rng(0)
        best = []
        for text, own in zip(self.texts[self.text_of], self.image_of, strict=True):
            others = rng.permutation(len(images))[: GALLERY + 1]
            best.append((images[others[others != own][:GALLERY]] @ text).max())
        return round(float(np.quantile(best, 1 - MAX_FALSE_MATCHES)), 3)


def evaluate_retrieval(
    model: Encoder,
    pairs: Pairs,
    *,
    template: str = "{}",
    batch_size: int = DEFAULT_BATCH_SIZE,
    on_skip: OnProblem,
    progress: Progress = lambda items, doing, total: items,
) -> EvaluatedRetrieval:
    """Encodes images and captions and measures recall. template: has one {} for the caption. progress: wraps the items
    of a loop; takes what is being done and the number of items.

    Raises TextNotSupported for an image-only model, BadInput where no image can be read, and what the model raises.
    """
    if not model.card.reads_text:
        raise TextNotSupported(model.card.id)
    sources = progress(pairs.images, "encoding images", len(pairs.images))
    outcomes = encode_sources(model, sources, batch_size=batch_size, full_resolution=True)
    images = gather(outcomes, model.card.dimension, on_skip)
    queries, image_of, text_of = queries_for(images, pairs)
    if not queries:
        raise BadInput("None of the images could be read, so there is nothing to measure.")
    texts = np.empty((len(queries), model.card.dimension), np.float32)
    prompts = progress((template.replace("{}", text) for text in queries), "encoding captions", len(texts))
    for row, embedding in enumerate(encode_texts(model, prompts, batch_size=batch_size)):
        texts[row] = embedding
    result = measure_retrieval(images.embeddings, texts, image_of, text_of)
    return EvaluatedRetrieval(result, images, texts, image_of, text_of)


def queries_for(gathered: Gathered, pairs: Pairs) -> tuple[list[str], Rows, Rows]:
    """gathered: the images that could be read; texts of other images are left out. Returns each text once, and
    image_of and text_of as EvaluatedRetrieval has them.
    """
    readable = np.flatnonzero(np.isin(pairs.image_of, gathered.rows))
    text_numbers = np.arange(len(pairs)) if pairs.text_of is None else pairs.text_of
    _, first, text_of = np.unique(text_numbers[readable], return_index=True, return_inverse=True)
    image_of = np.searchsorted(gathered.rows, pairs.image_of[readable])
    return [pairs.captions[row] for row in readable[first].tolist()], image_of, text_of.astype(np.int64)


def measure_retrieval(images: Vectors, texts: Vectors, image_of: Rows, text_of: Rows) -> Retrieval:
    """images: float32 [n, dim]; texts: float32 [m, dim], unit length. image_of, text_of: [pairs], rows of both that
    match.

    An image without texts only competes with the others. Ties count as wrong (see the package). Memory: the embeddings
    and a block of scores of fixed size, also for 30,000 images and 150,000 captions.
    """
    to_text, to_image = ranks(images, texts, image_of, text_of)
    return Retrieval(image_to_text=_recall(to_text), text_to_image=_recall(to_image))


def ranks(
    images: Vectors, texts: Vectors, image_of: Rows, text_of: Rows, *, at_once: int = _SCORES_AT_ONCE
) -> tuple[Rows, Rows]:
    """Counts the wrong answers before the best right one, for each image with texts and for each text.

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
        scores[image_of[inside] - start, text_of[inside]] = -np.inf  # right answers do not compete
        # NaN is not below anything, so it counts as a wrong answer.
        before_text[block] = (~(scores < best_text[block, None] - TIE)).sum(axis=1)
        before_image += (~(scores < best_image - TIE)).sum(axis=0)
    return before_text[np.unique(image_of)], before_image


def _own_scores(images: Vectors, texts: Vectors, image_of: Rows, text_of: Rows) -> Vectors:
    """float32 [pairs]; minus infinity where a score is not a number. In parts: the embeddings of all pairs at once
    would double the memory.
    """
    own = np.empty(len(image_of), np.float32)
    for start in range(0, len(own), _OWN_AT_ONCE):
        part = slice(start, start + _OWN_AT_ONCE)
        own[part] = np.einsum("ij,ij->i", texts[text_of[part]], images[image_of[part]])
    return np.nan_to_num(own, nan=-np.inf, copy=False)


def _recall(before: Rows) -> Recall:
    queries = len(before)
    at = {cutoff: float(np.mean(before < cutoff)) if queries else 0.0 for cutoff in CUTOFFS}
    return Recall(queries, at, float(np.median(before)) + 1 if queries else 0.0)
