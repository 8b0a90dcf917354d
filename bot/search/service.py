"""Searches images by a text query or by an embedding, and checks that the audience may see each match."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Protocol

import numpy as np

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.registry import ImageRegistry
from bot.logging import get_logger
from bot.models import ChannelRef, Image, ImageRef, Match, RemoteImage, SearchResult
from bot.monitoring.metrics import ANSWER_SECONDS, ANSWERS
from bot.protocols import Engine, VectorSearch
from bot.store.images import ImageStore
from clipcore.errors import EngineClosed, QueueFull
from clipcore.types import Lane, SearchHit, Vectors

log = get_logger(__name__)

# Candidates for each result shown: some turn out to be reposts, deleted, or no longer visible.
_CANDIDATES = 4
# Candidates that are looked up in Discord at most, for each result shown.
_LOOKED_UP = 3

LookUp = Callable[[ImageRef], Awaitable[list[RemoteImage]]]
"""All images that the message of this image carries now.

Raises ImageGone where the message is deleted, ImageForbidden or ImageUnreachable where it cannot be read.
"""


class Audience(Protocol):
    """The people who will read a result."""

    @property
    def guild_id(self) -> int: ...

    async def readable(self, channels: Iterable[ChannelRef]) -> frozenset[int]:
        """Ids of the channels and threads whose images may be shown to all of this audience now."""


class SearchService:
    """Searches one guild for an audience.

    Visibility is checked twice: only channels that the audience can read are searched, and each match is checked again
    when its message is fetched. Matches whose message is gone are forgotten. Indexing yields while a search runs, but
    not while matches are fetched from Discord.

    limit: matches in a result.
    """

    def __init__(
        self,
        engine: Engine,
        store: ImageStore,
        index: VectorSearch,
        registry: ImageRegistry,
        look_up: LookUp,
        *,
        limit: int,
    ) -> None:
        self._engine = engine
        self._store = store
        self._index = index
        self._registry = registry
        self._look_up = look_up
        self._limit = limit

    async def find(self, audience: Audience, text: str, channel_id: int | None = None) -> SearchResult:
        """Images that match a text query. Of identical files only the best match counts: reposts would fill the page.

        channel_id: search this channel and its threads only. Raises QueueFull or EngineClosed.
        """
        threshold = self._engine.calibration.text_threshold
        return await self._counted(
            "words", self._search(audience, text, threshold, channel_id=channel_id, one_per_content=True)
        )

    async def similar(self, audience: Audience, embedding: Vectors, exclude: Iterable[int] = ()) -> SearchResult:
        """Images similar to this embedding, reposts included.

        embedding: [dim], unit length. exclude: ids of images to leave out, such as the image of the query itself.
        """
        threshold = self._engine.calibration.image_threshold
        return await self._counted("likeness", self._search(audience, embedding, threshold, exclude=frozenset(exclude)))

    async def embedding_of(self, image: Image) -> Vectors | None:
        """The stored embedding of an image, float32 [dim]; None where the current model has not indexed it."""
        stored = await self._store.embedding(image.id, self._engine.card.key)
        return None if stored is None else np.asarray(stored, np.float32)

    async def embedding_of_file(self, data: bytes) -> Vectors:
        """The embedding of a query image, float32 [dim]; nothing is stored. Raises ImageRejected or QueueFull.

        It is made anew even where the file is indexed: a quick answer would tell that it was posted somewhere.
        """
        return (await self._engine.encode_image(data, Lane.INTERACTIVE)).vector

    async def visible_image(self, audience: Audience, image_id: int) -> Image | None:
        """The image with this id, if the audience may see it."""
        image = (await self._store.get([image_id])).get(image_id)
        if image is None or image.ref.channel.guild_id != audience.guild_id:
            return None
        allowed = await audience.readable([image.ref.channel])
        return image if image.ref.channel.channel_id in allowed else None

    async def _counted(self, kind: str, search: Awaitable[SearchResult]) -> SearchResult:
        began, outcome = perf_counter(), None
        try:
            result = await search
            outcome = _outcome(result)
            return result
        except (QueueFull, EngineClosed):
            outcome = "busy"
            raise
        finally:
            if outcome is not None:
                ANSWERS.labels(kind, outcome).inc()
                ANSWER_SECONDS.labels(kind).observe(perf_counter() - began)

    async def _search(
        self,
        audience: Audience,
        query: str | Vectors,
        threshold: float,
        *,
        channel_id: int | None = None,
        exclude: frozenset[int] = frozenset(),
        one_per_content: bool = False,
    ) -> SearchResult:
        with self._engine.pause_background():
            channels = await self._store.searchable_channels(audience.guild_id)
            if channel_id is not None:
                channels = [one for one in channels if channel_id in (one.channel_id, one.parent_id)]
            readable = await audience.readable(channels)
            if not readable:
                return SearchResult((), searched=False)
            embedding = await self._engine.encode_query(query) if isinstance(query, str) else query
            wanted, k = _LOOKED_UP * self._limit, _CANDIDATES * self._limit + len(exclude)
            while True:
                hits = await self._index.search(audience.guild_id, np.asarray(embedding, np.float32), readable, k)
                images = await self._store.get([hit.key for hit in hits])
                if gone := [hit.key for hit in hits if hit.key not in images]:
                    await self._index.discard(gone)
                found = select_matches(hits, images, threshold, exclude=exclude, one_per_content=one_per_content)
                below = any(hit.score < threshold and hit.key in images for hit in hits)
                if below or len(found) >= wanted or len(hits) < k:
                    break
                k *= 4  # reposts or deleted images took too many places
        return await self._verified(audience, found[:wanted], searched=bool(images))

    async def _verified(
        self, audience: Audience, found: Sequence[tuple[Image, float]], *, searched: bool
    ) -> SearchResult:
        """The first matches that the audience may see and that exist, both as of now and not as of the search."""
        verified: list[Match] = []
        unreachable = 0
        for start in range(0, len(found), self._limit):
            page = found[start : start + self._limit]
            readable = await audience.readable({image.ref.channel for image, _ in page})
            matches = await asyncio.gather(
                *(self._verify(image, score) for image, score in page if image.ref.channel.channel_id in readable)
            )
            verified += [match for match in matches if isinstance(match, Match)]
            unreachable += sum(isinstance(match, ImageUnreachable) for match in matches)
            if len(verified) >= self._limit:
                break
        return SearchResult(tuple(verified[: self._limit]), searched, unreachable)

    async def _verify(self, image: Image, score: float) -> Match | ImageUnreachable | None:
        """Fetches the image's message. Forgets what is gone; leaves out what cannot be read now."""
        ref = image.ref
        try:
            carried = await self._look_up(ref)
        except ImageGone:
            await self._registry.forget_messages([ref.message_id])
            return None
        except (ImageForbidden, ImageUnreachable) as error:
            log.info("match skipped", reason=str(error), image_id=image.id)
            return error if isinstance(error, ImageUnreachable) else None
        remote = next((one for one in carried if one.key == ref.key), None)
        if remote is None:
            await self._registry.forget_attachments(ref.message_id, [ref.attachment_id])
            return None
        return Match(image, score, remote)


def _outcome(result: SearchResult) -> str:
    if result.matches:
        return "answered"
    if result.unreachable:
        return "unreachable"
    return "nothing_alike" if result.searched else "nothing_readable"


def select_matches(
    hits: Sequence[SearchHit],
    images: Mapping[int, Image],
    threshold: float,
    *,
    exclude: Collection[int] = (),
    one_per_content: bool = False,
) -> list[tuple[Image, float]]:
    """The hits that may be shown, with their scores: at or above the threshold, not excluded, and still stored.

    hits: best first. images: the stored images of these hits, by id. one_per_content: of identical files keep the best.
    """
    found: list[tuple[Image, float]] = []
    contents: set[str] = set()
    for hit in hits:
        image = images.get(hit.key)
        if image is None or hit.score < threshold or image.id in exclude:
            continue
        if one_per_content and image.content_hash is not None:
            if image.content_hash in contents:
                continue
            contents.add(image.content_hash)
        found.append((image, hit.score))
    return found
