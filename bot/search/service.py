"""Searches images by a text query or by an embedding, and checks that the audience may see each match."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Protocol

import numpy as np

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.comparison import LookUp
from bot.indexing.registry import ImageRegistry
from bot.logging import get_logger
from bot.models import ChannelRef, Image, Match, Readable, SearchResult
from bot.monitoring.metrics import ANSWER_SECONDS, ANSWERS
from bot.protocols import Engine, VectorSearch
from bot.store.images import ImageStore
from clipcore.errors import EngineClosed, QueueFull
from clipcore.fair_places import Owner
from clipcore.types import Lane, SearchHit, Vectors

log = get_logger(__name__)

# Candidates for each result shown: some turn out to be reposts, deleted, or no longer visible.
_CANDIDATES = 4
# Candidates that are looked up in Discord at most, for each result shown.
_LOOKED_UP = 3
# Searches at most, where matches turn out to be gone or forbidden and the answer is not full.
_SEARCHES = 3
# A look-up that takes longer costs its own match and not the answer. And for all those of one question.
LONGEST_LOOK_UP_S, LONGEST_LOOK_UPS_S = 8.0, 25.0

NotShown = ImageGone | ImageForbidden | ImageUnreachable
Select = Callable[[Sequence[SearchHit], Mapping[int, Image], float], list[tuple[Image, float]]]
"""`select_matches`, with what a question leaves out."""


class Audience(Protocol):
    """The people who will read the answer to one question."""

    @property
    def guild_id(self) -> int: ...

    def readable(self, channels: Iterable[ChannelRef]) -> Readable:
        """Which of these channels and threads have images that may be shown to all of this audience now."""

    async def ask(self, thread_ids: Iterable[int]) -> None:
        """Asks Discord about these threads; from then on `readable` knows of each. What is not known counts as no."""


async def may_see(audience: Audience, channel: ChannelRef) -> bool:
    """Whether the images of one channel may be shown to the audience."""
    await audience.ask(audience.readable([channel]).to_ask)
    return channel.channel_id in audience.readable([channel]).certain


class SearchService:
    """Searches one guild for an audience.

    Visibility is checked twice: only channels that the audience can read are searched, and each match is checked again
    when its message is fetched. Matches whose message is gone are forgotten. Indexing yields while a search runs, but
    not while Discord is asked.

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
        """The stored embedding of an image, float32 [dim]; None where the current model has not indexed it, or it is to
        be forgotten.
        """
        if self._registry.hides(image.ref):
            return None
        stored = await self._store.embedding(image.id, self._engine.card.key)
        return None if stored is None else np.asarray(stored, np.float32)

    async def embedding_of_file(self, data: bytes, asker: Owner = (0, 0)) -> Vectors:
        """The embedding of a query image, float32 [dim]; nothing is stored. Raises ImageRejected or QueueFull.

        asker: guild and member.

        It is made anew even where the file is indexed: a quick answer would tell that it was posted somewhere.
        """
        return (await self._engine.encode_image(data, Lane.INTERACTIVE, asker)).vector

    async def visible_image(self, audience: Audience, image_id: int) -> Image | None:
        """The image with this id, if the audience may see it."""
        image = (await self._store.get([image_id])).get(image_id)
        if image is None or image.ref.channel.guild_id != audience.guild_id or self._registry.hides(image.ref):
            return None
        return image if await may_see(audience, image.ref.channel) else None

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
        with self._engine.pause_background():  # also where nothing can be read: a quick refusal would tell so
            embedding = await self._engine.encode_query(query) if isinstance(query, str) else query
            embedding = np.asarray(embedding, np.float32)
            channels = await self._store.searchable_channels(audience.guild_id)
        if channel_id is not None:
            channels = [one for one in channels if channel_id in (one.channel_id, one.parent_id)]
        deadline = asyncio.get_running_loop().time() + LONGEST_LOOK_UPS_S
        for _ in range(_SEARCHES):
            select = partial(select_matches, exclude=exclude, one_per_content=one_per_content)
            await self._ask(audience, channels, embedding, threshold, select)
            with self._engine.pause_background():
                readable = audience.readable(channels).certain
                wanted, k = _LOOKED_UP * self._limit, _CANDIDATES * self._limit + len(exclude)
                while True:
                    hits, images = await self._hits(audience, embedding, readable, k)
                    found = select(hits, images, threshold)
                    below = any(hit.score < threshold and hit.key in images for hit in hits)
                    if below or len(found) >= wanted or len(hits) < k:
                        break
                    k *= 4  # reposts or deleted images took too many places
            matches, failures = await self._verified(audience, found[:wanted], deadline)
            unreachable = sum(isinstance(error, ImageUnreachable) for _, error in failures)
            if len(matches) == self._limit or len(failures) == unreachable:
                break
            # What is gone or forbidden has taken places, and hidden its reposts: search without it.
            exclude |= {image.id for image, error in failures if isinstance(error, ImageForbidden)}
        unverified = len(matches) < self._limit and await self._store.any_unverified(readable)
        return SearchResult(matches, bool(images), unreachable, unverified)

    async def _ask(
        self, audience: Audience, channels: Sequence[ChannelRef], embedding: Vectors, threshold: float, select: Select
    ) -> None:
        """Lets the audience ask about the threads of the best matches. Where it can read nothing else, about those of
        the best hits: the answer says whether there was anything to search.
        """
        while (readable := audience.readable(channels)).to_ask:
            with self._engine.pause_background():
                hits, images = await self._hits(audience, embedding, readable.to_ask, _CANDIDATES * self._limit)
            best = select(hits, images, threshold if readable.certain else -1.0)
            if not best:
                break
            await audience.ask(dict.fromkeys(image.ref.channel.channel_id for image, _ in best))

    async def _hits(
        self, audience: Audience, embedding: Vectors, channels: Collection[int], k: int
    ) -> tuple[list[SearchHit], dict[int, Image]]:
        """The best k hits in these channels, and those of their images that exist and may be shown, by id."""
        hits = await self._index.search(audience.guild_id, embedding, channels, k)
        images = await self._store.get([hit.key for hit in hits])
        if gone := [hit.key for hit in hits if hit.key not in images]:
            await self._index.discard(gone)
        return hits, {id_: image for id_, image in images.items() if not self._registry.hides(image.ref)}

    async def _verified(
        self, audience: Audience, found: Sequence[tuple[Image, float]], deadline: float
    ) -> tuple[tuple[Match, ...], list[tuple[Image, NotShown]]]:
        """The first matches that the audience may see and that exist, both as of now and not as of the search; and the
        images that could not be looked up on the way.
        """
        verified: list[Match] = []
        failures: list[tuple[Image, NotShown]] = []
        for start in range(0, len(found), self._limit):
            page = found[start : start + self._limit]
            readable = audience.readable({image.ref.channel for image, _ in page}).certain
            page = [(image, score) for image, score in page if image.ref.channel.channel_id in readable]
            until = min(deadline, asyncio.get_running_loop().time() + LONGEST_LOOK_UP_S)
            outcomes = await asyncio.gather(*(self._verify(image, score, until) for image, score in page))
            verified += [one for one in outcomes if isinstance(one, Match)]
            failures += [
                (image, one) for (image, _), one in zip(page, outcomes, strict=True) if not isinstance(one, Match)
            ]
            if len(verified) >= self._limit:
                break
        return tuple(verified[: self._limit]), failures

    async def _verify(self, image: Image, score: float, until: float) -> Match | NotShown:
        """Fetches the image's message. Forgets what is gone."""
        ref = image.ref
        try:
            async with asyncio.timeout_at(until):
                carried = await self._look_up(ref)
        except ImageGone as error:
            await self._registry.forget_messages([ref.message_id])
            return error
        except (ImageForbidden, ImageUnreachable) as error:
            log.info("match skipped", reason=str(error), image_id=image.id)
            return error
        except TimeoutError:
            log.info("match skipped", reason="Discord did not answer in time", image_id=image.id)
            return ImageUnreachable("Discord did not answer in time")
        if self._registry.hides(ref):
            return ImageGone("the image is to be forgotten")
        remote = next((one for one in carried if one.key == ref.key), None)
        if remote is None:
            await self._registry.forget_images(ref.message_id, [ref.key])
            return ImageGone("the message no longer carries this image")
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
