"""Answers a question with images: by words or by likeness, among the channels that the asker may see."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from bot.indexing.protocols import Engine
from bot.indexing.worker import content_hash_of
from bot.models import Hit, Image, SearchAnswer, SearchQuery
from bot.search.vector_cache import GuildIndex
from bot.store.images import ImageStore
from clipcore.types import Lane, SearchHit, Vectors


class Choice:
    """Takes ranked rows in growing helpings and keeps the best that may be answered.

    An image is answered when its score reaches `threshold`, its row still exists, it is not excluded, and, with
    `one_per_content`, no better hit has the same file. `nothing_alike` needs at least one existing image to have been
    searched, an excluded one included.
    """

    def __init__(
        self, limit: int, threshold: float, *, excluded: frozenset[int] = frozenset(), one_per_content: bool = False
    ) -> None:
        self.excluded = excluded
        self._limit = limit
        self._threshold = threshold
        self._one_per_content = one_per_content
        self._seen: set[int] = set()
        self._contents: set[str] = set()
        self._hits: list[Hit] = []
        self._searched = False
        self._all_weaker = False

    def unseen(self, ranked: Sequence[SearchHit]) -> Iterator[SearchHit]:
        """What of a larger helping is new."""
        return (hit for hit in ranked if hit.key not in self._seen)

    def take(self, ranked: Sequence[SearchHit], rows: Mapping[int, Image]) -> list[int]:
        """rows: the images of the unseen hits that still exist. Returns the ids that do not."""
        gone = []
        for hit in list(self.unseen(ranked)):
            self._seen.add(hit.key)
            image = rows.get(hit.key)
            if image is None:
                gone.append(hit.key)
                continue
            self._searched = True
            if hit.score < self._threshold:
                self._all_weaker = True
            elif self._may_answer(image):
                self._keep(Hit(image, hit.score))
        return gone

    @property
    def complete(self) -> bool:
        """Whether a larger helping could not change the answer."""
        return len(self._hits) >= self._limit or self._all_weaker

    def answer(self) -> SearchAnswer:
        hits = tuple(self._hits[: self._limit])
        return SearchAnswer(hits, nothing_alike=self._searched and not hits)

    def _may_answer(self, image: Image) -> bool:
        repeated = self._one_per_content and image.content_hash in self._contents
        return image.id not in self.excluded and not repeated

    def _keep(self, hit: Hit) -> None:
        self._hits.append(hit)
        if hit.image.content_hash is not None:
            self._contents.add(hit.image.content_hash)


class Searcher:
    """Every way of asking ends here. Scores are cosines; what is below the model's threshold is not an answer."""

    def __init__(self, engine: Engine, store: ImageStore, guild_index: GuildIndex) -> None:
        self._engine = engine
        self._store = store
        self._guild_index = guild_index

    async def find(self, text: str, query: SearchQuery) -> SearchAnswer:
        """The images that fit the words. Of identical files only one is answered: reposts would fill the page."""
        vector = await self._engine.encode_query(text)
        choice = Choice(query.limit, self._engine.calibration.text_match, one_per_content=True)
        return await self._answer(vector, query, choice)

    async def similar(self, vector: Vectors, query: SearchQuery, exclude: Collection[int] = ()) -> SearchAnswer:
        """The images that look like this one. Reposts are answered too: whoever asks wants to know of them.

        vector: [dim], unit length; exclude: ids of images that are never answered, such as the one asked about.
        """
        choice = Choice(query.limit, self._engine.calibration.image_match, excluded=frozenset(exclude))
        return await self._answer(np.asarray(vector, np.float32), query, choice)

    async def vector_of(self, image: Image) -> Vectors | None:
        """The stored vector of a remembered image, float32 [dim]; None while the current model has not seen it."""
        stored = await self._store.vector(image.id, self._engine.card.key)
        return None if stored is None else np.asarray(stored, np.float32)

    async def vector_for_bytes(self, data: bytes) -> Vectors:
        """The vector of an image that is asked about and not kept, float32 [dim]. Raises ImageRejected, QueueFull."""
        content_hash = await content_hash_of(data)
        known = await self._store.vector_of_hash(content_hash, self._engine.card.key)
        if known is not None:
            return np.asarray(known.vector, np.float32)
        return (await self._engine.encode_image(data, Lane.INTERACTIVE)).vector

    async def _answer(self, vector: Vectors, query: SearchQuery, choice: Choice) -> SearchAnswer:
        """Asks for more as long as rows that are gone, excluded or repeated leave the answer short."""
        wanted = query.limit + len(choice.excluded)
        while True:
            ranked = await self._guild_index.search(query.guild_id, vector, query.channels, wanted)
            rows = await self._store.get([hit.key for hit in choice.unseen(ranked)])
            gone = choice.take(ranked, rows)
            if gone:
                await self._guild_index.discard(gone)
            if choice.complete or len(ranked) < wanted:
                return choice.answer()
            wanted *= 2
