"""Compares what is stored of a channel's messages with what Discord shows of them, and makes the store agree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bot.errors import ImageGone, ImageUnreachable
from bot.indexing.registry import ImageRegistry
from bot.logging import get_logger
from bot.models import ChannelRef, Hits, Image, ImageKey, ImageRef, Page, PublicReply, RemoteImage, SeenMessage
from bot.store.images import ImageStore

log = get_logger(__name__)

PAGE_MESSAGES = 100


class Accept(Protocol):
    """`Indexer.accept`: commits these images as pending; those not known before are returned."""

    async def __call__(self, refs: Sequence[ImageRef], *, backfilled: bool = False) -> list[Image]: ...


class History(Protocol):
    """One page of a channel's history, in one request: the oldest messages after an id, or the newest, before one.

    Raises ImageForbidden where the channel may not be read, ImageGone where it is deleted, ImageUnreachable where it
    cannot be read now.
    """

    async def __call__(self, channel: ChannelRef, *, after: int | None = None, before: int | None = None) -> Page: ...


Reached = Callable[[int, int], Awaitable[None]]
"""Notes that a backfill has accepted everything above one message id, up to another."""

LookUp = Callable[[ImageRef], Awaitable[list[RemoteImage]]]
"""All images that the message of this image carries now.

Raises ImageGone where the message is deleted, ImageForbidden or ImageUnreachable where it cannot be read.
"""


def compare(stored: Iterable[ImageRef], page: Page) -> dict[int, list[ImageKey]]:
    """The messages with images that Discord no longer has: the keys of these where the message is still there.

    stored: images that were stored before the page was requested, of this channel. Those outside the page's range are
    ignored: nothing is known of them.
    """
    shown = {message.message_id: message.carried for message in page.messages}
    removed: dict[int, list[ImageKey]] = {}
    for ref in stored:
        if not page.after < ref.message_id <= page.until:
            continue
        if ref.message_id not in shown:
            removed[ref.message_id] = []
        elif (carried := shown[ref.message_id]) is not None and ref.key not in carried:
            removed.setdefault(ref.message_id, []).append(ref.key)
    return removed


def spoilers_changed(stored: Iterable[Image], shown: Iterable[ImageRef]) -> list[Image]:
    """Those of the stored images that have become spoilers, or ceased to be."""
    now = {(ref.message_id, ref.key): ref.spoiler for ref in shown}
    return [one for one in stored if now.get((one.ref.message_id, one.ref.key)) is (not one.ref.spoiler)]


class MessageComparer:
    """Makes the store agree with messages as they are posted, edited, and read from a history again.

    An event is newer than a page that was requested before it, so the page says nothing about an edited message.
    Nor is a message gone because a page lacks it: it is looked up by itself, the newest PAGE_MESSAGES of them.
    Of messages from before the channel was first seen, no images are accepted, but for a backfill: it accepts them, and
    what it has covered counts as seen from then on.
    found_replies: called with public replies of the bot's own by message id; they may be known. covered: called with
    images that have become spoilers, again where it failed.
    """

    def __init__(
        self,
        store: ImageStore,
        registry: ImageRegistry,
        accept: Accept,
        history: History,
        look_up: LookUp,
        found_replies: Callable[[ChannelRef, Mapping[int, PublicReply]], Awaitable[None]],
        covered: Callable[[Sequence[Image]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._registry = registry
        self._accept = accept
        self._history = history
        self._look_up = look_up
        self._found_replies = found_replies
        self._covered = covered
        self._one_request = asyncio.Lock()
        self._comparing = asyncio.Lock()
        self._edited: dict[int, SeenMessage] = {}  # since the page under way was requested

    async def posted(self, channel: ChannelRef, message: SeenMessage) -> list[Image]:
        """Returns the images that were not known before."""
        await self._find_replies(channel, [message])
        return await self._accept(message.images)

    async def edited(self, message: SeenMessage) -> None:
        """Forgets images that were removed and accepts new ones: link previews arrive by an edit."""
        if self._one_request.locked():
            self._edited[message.message_id] = message
        async with self._comparing:
            if message.carried is not None:
                await self._registry.forget_all_but(message.message_id, message.carried)
            if message.images:
                await self._note_spoilers(await self._store.by_message(message.message_id), message.images)
                if message.message_id > await self._store.first_seen(message.images[0].channel.channel_id):
                    await self._accept(message.images)

    async def read(
        self,
        channel: ChannelRef,
        *,
        after: int | None = None,
        before: int | None = None,
        reached: Reached | None = None,
    ) -> Page:
        """Reads one page of the channel's history, and makes the store agree with it, also where the channel is
        deleted. Raises what `History` raises.

        reached: for a backfill, which accepts whatever the page has; called once that is done.
        """
        async with self._one_request:
            self._edited.clear()
            newest_image = await self._store.newest_id()  # the page may lack those that are stored after its request
            try:
                page = await self._history(channel, after=after, before=before)
            except ImageGone:
                await self._registry.forget_channel(channel.channel_id)
                log.info("channel is deleted; its images are forgotten", channel_id=channel.channel_id)
                raise
            await self._find_replies(channel, page.messages)  # first, so that a reply goes with an image forgotten here
            stored = await self._store.in_range(channel.channel_id, page.after, page.until)
            stored = [one for one in stored if one.id <= newest_image]
            page = await self._completed(page, [one.ref for one in stored])
            first = await self._store.first_seen(channel.channel_id)
            async with self._comparing:
                known = [one for one in stored if one.ref.message_id not in self._edited]
                shown = [ref for one in page.messages if one.message_id not in self._edited for ref in one.images]
                await self._forget(compare([one.ref for one in known], page))
                await self._note_spoilers(known, shown)
                if reached is None:
                    await self._accept([ref for ref in shown if ref.message_id > first])
                else:
                    await self._backfill(page.messages)
                    await reached(page.after, page.until)
        return page

    async def search(self, request: Callable[[], Awaitable[Hits]], reached: Reached) -> Hits:
        """Accepts what Discord's search has found, for a backfill. request: for one page of it."""
        async with self._one_request:
            self._edited.clear()
            hits = await request()
            async with self._comparing:
                await self._backfill(hits.messages)
                await reached(hits.after, hits.until)
        return hits

    async def _backfill(self, messages: Iterable[SeenMessage]) -> None:
        """Of a message that was edited since the request, its edit had no images accepted: it is from before."""
        newest = [self._edited.get(message.message_id, message) for message in messages]
        await self._accept([ref for message in newest for ref in message.images], backfilled=True)

    async def _note_spoilers(self, stored: Iterable[Image], shown: Iterable[ImageRef]) -> None:
        changed = spoilers_changed(stored, shown)
        covered = [one for one in changed if not one.ref.spoiler]
        if covered:
            await self._covered(covered)
            await self._store.set_spoiler([one.id for one in covered], True)
        if len(changed) > len(covered):
            await self._store.set_spoiler([one.id for one in changed if one.ref.spoiler], False)

    async def _completed(self, page: Page, stored: Iterable[ImageRef]) -> Page:
        """With those messages of stored images that it lacks and Discord has. Judges less where it lacks too many."""
        shown = {message.message_id for message in page.messages}
        lacking = {ref.message_id: ref for ref in stored if ref.message_id not in shown}
        newest = sorted(lacking, reverse=True)
        found = list(page.messages)
        for message_id in newest[:PAGE_MESSAGES]:
            try:
                carried = frozenset(image.key for image in await self._look_up(lacking[message_id]))
            except ImageGone:
                continue
            except ImageUnreachable:  # nothing is known of it
                found.append(SeenMessage(message_id, carried=None))
            else:
                found.append(SeenMessage(message_id, carried=carried))
        found.sort(key=lambda message: message.message_id)
        after = page.after if len(newest) <= PAGE_MESSAGES else newest[PAGE_MESSAGES]
        return replace(page, messages=found, after=after)

    async def _find_replies(self, channel: ChannelRef, messages: Sequence[SeenMessage]) -> None:
        if found := {message.message_id: message.reply for message in messages if message.reply is not None}:
            await self._found_replies(channel, found)

    async def _forget(self, removed: Mapping[int, list[ImageKey]]) -> None:
        if messages := [message_id for message_id, keys in removed.items() if not keys]:
            await self._registry.forget_messages(messages)
        for message_id, keys in removed.items():
            if keys:
                await self._registry.forget_images(message_id, keys)
