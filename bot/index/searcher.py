"""Answers a question with pictures: by words or by likeness, among the channels that the asker may see."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from bot.index.content import content_hash_of
from bot.index.guild_index import GuildIndex
from bot.index.ranking import Choice
from bot.index.seams import Engine
from bot.records import Picture, SearchAnswer, SearchQuery
from bot.store.pictures import PictureStore
from clipcore.types import Lane, Vectors


class Searcher:
    """Every way of asking ends here. Scores are cosines; what is below the model's threshold is not an answer."""

    def __init__(self, engine: Engine, store: PictureStore, guild_index: GuildIndex) -> None:
        self._engine = engine
        self._store = store
        self._guild_index = guild_index

    async def find(self, text: str, query: SearchQuery) -> SearchAnswer:
        """The pictures that fit the words. Of identical files only one is answered: reposts would fill the page."""
        vector = await self._engine.encode_query(text)
        choice = Choice(query.limit, self._engine.calibration.text_match, one_per_content=True)
        return await self._answer(vector, query, choice)

    async def similar(self, vector: Vectors, query: SearchQuery, exclude: Collection[int] = ()) -> SearchAnswer:
        """The pictures that look like this one. Reposts are answered too: whoever asks wants to know of them.

        vector: [dim], unit length; exclude: ids of pictures that are never answered, such as the one asked about.
        """
        choice = Choice(query.limit, self._engine.calibration.image_match, excluded=frozenset(exclude))
        return await self._answer(np.asarray(vector, np.float32), query, choice)

    async def vector_of(self, picture: Picture) -> Vectors | None:
        """The stored vector of a remembered picture, float32 [dim]; None while the current model has not seen it."""
        stored = await self._store.vector(picture.id, self._engine.card.key)
        return None if stored is None else np.asarray(stored, np.float32)

    async def vector_for_bytes(self, data: bytes) -> Vectors:
        """The vector of a picture that is asked about and not kept, float32 [dim]. Raises ImageRejected, QueueFull."""
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
