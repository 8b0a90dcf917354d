"""From a question to an answer that may be shown: each image allowed to its audience, and there at this moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Protocol

from bot.discord_io.attachments import Sighting
from bot.discord_io.messages import Messages
from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.indexer import Indexer
from bot.models import ChannelRef, Hit, Image, SearchAnswer, SearchQuery
from bot.monitoring.metrics import ANSWER_SECONDS, ANSWERS
from bot.search.service import Searcher
from bot.store.images import ImageStore
from clipcore.errors import EngineClosed, QueueFull
from clipcore.types import Vectors

log = logging.getLogger(__name__)

# Some hits turn out to be deleted or hidden when they are looked up; these stand in for them.
_SPARE_HITS = 3


class Audience(Protocol):
    """Those who will read an answer."""

    @property
    def guild_id(self) -> int: ...

    async def readable(self, places: Iterable[ChannelRef]) -> frozenset[int]:
        """Ids of the places whose images may be shown to all of this audience, asked of Discord now."""


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A hit that has been looked up. url: good for now, and for nothing but this answer."""

    hit: Hit
    sighting: Sighting
    author_id: int
    created_at: datetime
    jump_url: str


@dataclass(frozen=True, slots=True)
class Answer:
    """shown: best first. searched: whether there was any image that this audience may see."""

    shown: tuple[ShownImage, ...]
    searched: bool


Search = Callable[[SearchQuery], Awaitable[SearchAnswer]]
Foreground = Callable[[], AbstractContextManager[None]]
"""While one is open, indexing stands back: `ClipEngine.foreground`."""


class Answers:
    def __init__(
        self,
        store: ImageStore,
        searcher: Searcher,
        indexer: Indexer,
        messages: Messages,
        foreground: Foreground,
        *,
        limit: int,
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._indexer = indexer
        self._messages = messages
        self._foreground = foreground
        self._limit = limit

    async def to_words(self, audience: Audience, words: str, channel_id: int | None = None) -> Answer:
        """channel_id: only that channel and its threads. Raises QueueFull where the model has too much to do."""
        answering = self._answer(audience, lambda query: self._searcher.find(words, query), channel_id)
        return await self._counted("words", answering)

    async def to_vector(self, audience: Audience, vector: Vectors, exclude: Iterable[int] = ()) -> Answer:
        """Look-alikes. exclude: ids of the images that the question was about."""
        left_out = frozenset(exclude)
        answering = self._answer(audience, lambda query: self._searcher.similar(vector, query, left_out), None)
        return await self._counted("likeness", answering)

    async def _counted(self, asked: str, answering: Awaitable[Answer]) -> Answer:
        began, result = perf_counter(), None
        try:
            answer = await answering
            result = _result(answer)
            return answer
        except (QueueFull, EngineClosed):
            result = "busy"
            raise
        finally:
            if result is not None:
                ANSWERS.labels(asked, result).inc()
                ANSWER_SECONDS.labels(asked).observe(perf_counter() - began)

    async def _answer(self, audience: Audience, search: Search, channel_id: int | None) -> Answer:
        with self._foreground():  # not while the hits are looked up: that is Discord's time
            found = await self._found(audience, search, channel_id)
        if found is None:
            return Answer((), searched=False)
        return Answer(await self._shown(audience, found.hits), searched=bool(found.hits) or found.nothing_alike)

    async def _found(self, audience: Audience, search: Search, channel_id: int | None) -> SearchAnswer | None:
        """None where there is no image that this audience may see."""
        places = await self._store.places(audience.guild_id)
        if channel_id is not None:
            places = [place for place in places if channel_id in (place.channel_id, place.parent_id)]
        allowed = await audience.readable(places)
        if not allowed:
            return None
        return await search(SearchQuery(audience.guild_id, allowed, self._limit * _SPARE_HITS))

    async def _shown(self, audience: Audience, hits: Sequence[Hit]) -> tuple[ShownImage, ...]:
        """The first hits that still stand: allowed and existing now, not when the search began."""
        shown: list[ShownImage] = []
        for start in range(0, len(hits), self._limit):
            chunk = hits[start : start + self._limit]
            allowed = await audience.readable({hit.image.ref.channel for hit in chunk})
            looked_up = await asyncio.gather(
                *(self._look_up(hit) for hit in chunk if hit.image.ref.channel.channel_id in allowed)
            )
            shown += [image for image in looked_up if image is not None]
            if len(shown) >= self._limit:
                break
        return tuple(shown[: self._limit])

    async def _look_up(self, hit: Hit) -> ShownImage | None:
        """Fetches the message afresh. What is gone is forgotten; what may not be read, or not now, is left out."""
        ref = hit.image.ref
        try:
            carried = await self._messages.look(ref)
        except ImageGone:
            await self._indexer.forget_messages([ref.message_id])
            return None
        except (ImageForbidden, ImageUnreachable) as error:
            log.info("a hit is left out: %s", error, extra={"image_id": hit.image.id})
            return None
        for sighting in carried:
            if sighting.key == (ref.source, ref.attachment_id):
                return ShownImage(hit, sighting, ref.author_id, ref.created_at, _jump_url(ref.channel, ref.message_id))
        await self._indexer.forget_attachments(ref.message_id, [ref.attachment_id])
        return None

    async def visible_image(self, audience: Audience, image_id: int) -> Image | None:
        """The image of this id, if this audience may see it now."""
        image = (await self._store.get([image_id])).get(image_id)
        if image is None or image.ref.channel.guild_id != audience.guild_id:
            return None
        allowed = await audience.readable([image.ref.channel])
        return image if image.ref.channel.channel_id in allowed else None


def _result(answer: Answer) -> str:
    if answer.shown:
        return "answered"
    return "nothing_alike" if answer.searched else "nothing_readable"


def _jump_url(place: ChannelRef, message_id: int) -> str:
    return f"https://discord.com/channels/{place.guild_id}/{place.channel_id}/{message_id}"
