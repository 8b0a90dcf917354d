"""clipcore's plain data types, and the interface of a model. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import ceil
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clipcore.prompts import PHOTOGRAPHS, Prompts

Vectors = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels, fractions allowed."""


_DETAIL = 2.4


def detail_for(size: int) -> int:
    """The shorter edge, in pixels, down to which a large image may be shrunk by whole numbers before it is resized to
    `size`.

    Measured on photographs of 12 megapixels full of detail, against reading them whole: at least 47 dB, where twice the
    size leaves 44.7 and three times 50. A little over twice, so that 1080 lines may still be halved for 224.
    """
    return ceil(_DETAIL * size)


class Lane(IntEnum):
    """Which queue work waits in. A lower number is served first."""

    INTERACTIVE = 0
    BACKGROUND = 1


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Describes a loaded model.

    `key` is stored with every embedding, so that those of different models are never compared: id, revision and
    preprocessing version. dimension: of the embeddings. input_size: the edge, in pixels, of the model's square.
    context_length: tokens that a text may have; 0 in image-only models. A pair's logit is logit_scale x cosine +
    logit_bias; the bias is SigLIP's, 0 elsewhere. prompts: the templates that suit the model. languages: ISO 639 codes
    of the texts that it was trained on, `mul` for many; empty where that is not known (see `scripts.unread_script`).
    """

    id: str
    revision: str
    dimension: int
    input_size: int
    context_length: int
    logit_scale: float
    preprocessing: str = "1"
    logit_bias: float = 0.0
    prompts: Prompts = PHOTOGRAPHS
    languages: tuple[str, ...] = ()

    @property
    def detail(self) -> int:
        """As `detail_for` the input size."""
        return detail_for(self.input_size)

    @property
    def reads_text(self) -> bool:
        return self.context_length > 0

    @property
    def key(self) -> str:
        return f"{self.id}@{self.revision}#{self.preprocessing}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How `clipcore.relevance` judges the score of a text query and an image by its standing among all scores.

    spread: what takes the place of the population's own spread; None: nothing does. doubtful: what scores less is never
    a match. certain: what scores as much always is.
    """

    spread: float | None
    doubtful: float
    certain: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The thresholds from which a model's scores mean something. Measured for each model; the sources are beside the
    figures.

    text_threshold: the least cosine of a text query and an image that match, where there is no population to compare
    with. image_threshold: the least cosine of two images that are alike. tag_threshold: the least probability of a tag,
    background prompts included. standing: of the scores of text queries; None where the threshold alone decides.
    """

    text_threshold: float
    image_threshold: float
    tag_threshold: float
    standing: Standing | None = None


class Prepare(Protocol):
    """Makes the model's input of an image. Picklable, so that another process can do it; any thread may call it."""

    def __call__(self, pixels: Pixels, box: Box | None = None) -> Pixels:
        """uint8 [h, w, 3] of any size -> uint8 [s, s, 3]. box: the part of the pixels that is the image; None: all."""
        ...


class Encoder(Protocol):
    """A model that encodes images and texts. Implemented by `ClipModel` and, loading it on first use, `LazyModel`.

    One thread at a time may encode; `prepare` and the properties are thread-safe.
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def calibration(self) -> Calibration: ...

    @property
    def runs_on_cpu(self) -> bool:
        """Whether encoding uses the CPU cores that decoding images needs, too."""
        ...

    @property
    def prepare(self) -> Prepare: ...

    def encode_prepared(self, batch: Pixels) -> Vectors:
        """uint8 [n, s, s, 3] -> float32 [n, dim]. Raises MemoryError if the batch does not fit the device."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n texts -> float32 [n, dim]. Raises MemoryError if the batch does not fit the device."""
        ...


@dataclass(frozen=True, slots=True)
class ImageVector:
    """One encoded image. vector: float32 [dim], unit length; width, height: pixels after the EXIF turn.

    more: the vectors of further frames that differ from it and from each other, where it is an animation and they were
    asked for. perceptual_hash: see `images.perceptual_hash`; None where it is not known.
    """

    vector: Vectors
    width: int
    height: int
    more: tuple[Vectors, ...] = ()
    perceptual_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A name that may be assigned, and the phrases that describe it to the model (by default the name itself)."""

    name: str
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelScore:
    label: str
    probability: float

    def __repr__(self) -> str:
        return f"{self.label}: {self.probability:.1%}"


@dataclass(frozen=True, slots=True)
class SearchHit:
    """key: the caller's id of the row; score: cosine."""

    key: int
    score: float

    def __repr__(self) -> str:
        return f"{self.key}: {self.score:.3f}"
