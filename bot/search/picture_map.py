"""PictureMaps: which images a map shows to an audience. Where they lie is decided in `map_layout`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.registry import ImageRegistry
from bot.logging import get_logger
from bot.models import EVERY_IMAGE, Image, ImageRef, RemoteImage, Sort
from bot.search.service import Audience, readable_channels
from bot.store.images import ImageStore
from clipcore.types import Vectors

log = get_logger(__name__)

# Images that are read for each one that is wanted: reposts of a file and spoilers take places.
_CANDIDATES = 3
_CHANNELS_AT_ONCE = 4

LookUpAll = Callable[[Collection[ImageRef]], AsyncIterator[tuple[ImageRef, list[RemoteImage] | None]]]
"""All images that the messages of these images of one channel carry now; None: the message is deleted.

Raises ImageGone, ImageForbidden or ImageUnreachable; then nothing is known of the rest.
"""

VectorsOf = Callable[[int, Sequence[int]], Awaitable[Vectors]]
"""Of a guild's images, as `VectorSearch.vectors`."""


@dataclass(frozen=True, slots=True)
class MapPicture:
    """remote: looked up for this map."""

    image: Image
    remote: RemoteImage


@dataclass(frozen=True, slots=True)
class Pictures:
    """The newest first. more: whether there are older ones. unreachable: how many more Discord did not answer for."""

    found: tuple[MapPicture, ...]
    more: bool
    unreachable: int


class PictureMaps:
    """Chooses the images of a map. As for a search, each is looked up in Discord, and what is gone is forgotten."""

    def __init__(
        self, store: ImageStore, vectors_of: VectorsOf, registry: ImageRegistry, look_up_all: LookUpAll
    ) -> None:
        self._store = store
        self._vectors_of = vectors_of
        self._registry = registry
        self._look_up_all = look_up_all

    async def choose(self, audience: Audience, within: int | None, most: int, until: float) -> Pictures:
        """The newest images that the audience may see, of each file one, and none under a spoiler.

        within: only this channel and its threads. until: when no answer of Discord is waited for any more, by the
        event loop's clock.
        """
        readable = await readable_channels(self._store, audience, within)
        limit = _CANDIDATES * most
        ids = await self._store.listed(audience.guild_id, readable, EVERY_IMAGE, Sort.NEWEST, limit)
        images = await self._store.searchable(ids)
        chosen = self._one_of_each_file(images[id_] for id_ in ids if id_ in images)
        wanted = chosen[:most]
        looked_up = await self._look_up(wanted, until)
        found = tuple(
            MapPicture(image, remote)
            for image in wanted
            if (remote := looked_up.get(image.id)) is not None and not remote.spoiler
        )
        found = tuple(self.still_visible(audience, found))
        return Pictures(found, len(ids) == limit or len(chosen) > most, sum(one.id not in looked_up for one in wanted))

    def still_visible(self, audience: Audience, pictures: Sequence[MapPicture]) -> list[MapPicture]:
        """Those that the audience may see now: drawing a map takes its time."""
        readable = audience.readable({one.image.ref.channel for one in pictures}).certain
        return [
            one
            for one in pictures
            if one.image.ref.channel.channel_id in readable and not self._registry.hides(one.image.ref)
        ]

    async def vectors(self, guild_id: int, pictures: Sequence[MapPicture]) -> Vectors:
        """float32 [n, dim]; zeros where there is none any more."""
        return await self._vectors_of(guild_id, [one.image.id for one in pictures])

    def _one_of_each_file(self, images: Iterable[Image]) -> list[Image]:
        found: dict[object, Image] = {}
        for image in images:
            if not image.ref.spoiler and not self._registry.hides(image.ref):
                found.setdefault(image.content_hash or image.id, image)
        return list(found.values())

    async def _look_up(self, images: Sequence[Image], until: float) -> dict[int, RemoteImage | None]:
        """By image id. None where it is gone; what Discord did not answer for in time is missing."""
        by_channel: defaultdict[int, list[Image]] = defaultdict(list)
        for image in images:
            by_channel[image.ref.channel.channel_id].append(image)
        carried: dict[ImageRef, list[RemoteImage] | None] = {}
        at_once = asyncio.Semaphore(_CHANNELS_AT_ONCE)

        async def look(of_channel: Sequence[Image]) -> None:
            try:
                async with asyncio.timeout_at(until), at_once:
                    async for ref, its in self._look_up_all([image.ref for image in of_channel]):
                        carried[ref] = its
            except (ImageGone, ImageForbidden, ImageUnreachable, TimeoutError) as error:
                channel_id = of_channel[0].ref.channel.channel_id
                log.info("pictures left out of a map", reason=type(error).__name__, channel_id=channel_id)

        await asyncio.gather(*map(look, by_channel.values()))
        return {image.id: await self._remote(image.ref, carried[image.ref]) for image in images if image.ref in carried}

    async def _remote(self, ref: ImageRef, carried: Sequence[RemoteImage] | None) -> RemoteImage | None:
        """Forgets what is gone."""
        if carried is None:
            await self._registry.forget_messages([ref.message_id])
            return None
        remote = next((one for one in carried if one.key == ref.key), None)
        if remote is None:
            await self._registry.forget_images(ref.message_id, [ref.key])
        return remote
