"""What search and indexing need of the CLIP engine and of the vector index, as protocols.

Tests replace the engine by a fake one; a database with a vector index of its own can replace the one in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clipcore.fair_places import Owner
from clipcore.relevance import Scored
from clipcore.types import Calibration, ImageVector, Label, Lane, ModelCard, Vectors

Row = npt.NDArray[np.float16] | npt.NDArray[np.float32]


class Classifier(Protocol):
    def probabilities(self, vectors: Vectors) -> Vectors:
        """vectors: float32 [n, dim], unit length. Returns float32 [n, labels]."""


class Engine(Protocol):
    """The part of ClipEngine that the bot uses. `card` and `calibration` are available once it has started."""

    @property
    def card(self) -> ModelCard: ...
    @property
    def calibration(self) -> Calibration: ...
    async def encode_image(
        self, data: bytes, lane: Lane = Lane.BACKGROUND, owner: Owner = (0, 0), *, frames: int = 1
    ) -> ImageVector: ...
    async def encode_query(self, text: str) -> Vectors: ...
    async def classifier(self, labels: Sequence[Label], *, keep: bool = False) -> Classifier: ...
    def pause_background(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class IndexedEmbedding:
    """embedding: [dim], unit length; of an animation's first frame. more: of its further frames."""

    image_id: int
    channel_id: int
    embedding: Row
    more: tuple[Row, ...] = ()


ImageIds = npt.NDArray[np.int64]


class VectorSearch(Protocol):
    """Nearest-neighbour search over the embeddings of one model, guild by guild."""

    async def search(
        self, guild_id: int, embedding: Vectors, channels: Iterable[int], k: int, only: ImageIds | None = None
    ) -> Scored:
        """The k best images of these channels, best first, and how all of them score; key: image id, score: cosine, of
        an animation's best frame.

        embedding: float32 [dim], unit length. only: the images to choose from; None means all.
        """

    async def vectors(self, guild_id: int, image_ids: Sequence[int]) -> Vectors:
        """The embeddings of these images, each given once, in their order: [n, dim]; zeros where there is none. Of an
        animation that of its first frame.
        """

    async def add(self, guild_id: int, rows: Sequence[IndexedEmbedding]) -> None:
        """Call it once the store has committed these images."""

    async def discard(self, image_ids: Iterable[int]) -> None:
        """Call it once the store has deleted these images; they may belong to any guild."""

    def drop(self, guild_id: int) -> None:
        """Frees the memory of this guild's embeddings; a search reads them again."""
