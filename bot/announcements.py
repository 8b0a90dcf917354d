"""Shows a channel the tags of a new picture, the way the channel wants it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import discord

from bot.records import Announcement, Picture, PictureState, Tag
from bot.replies import ReplyCleaner
from bot.store.channels import ChannelStore
from bot.store.lifecycle import INTERRUPTED
from bot.store.pictures import PictureStore
from bot.texts import CHINESE, texts_for
from bot.views.words import TagWords

log = logging.getLogger(__name__)

MOST_REACTIONS = 3
# What is found by catching up is not talked about any more: nobody is looking at it now.
STALE_AFTER = timedelta(minutes=10)
# How long the first finished picture of a message waits for the others, so that one reply names them all.
_SIBLINGS_S = 5.0
_GLANCE_S = 0.1
_REMEMBERED = 1024
_LONGEST_REPLY = 1900  # of the 2000 characters that Discord takes


class Announcements:
    """The indexer's `on_finished`. One announcement a message, at most once."""

    def __init__(
        self,
        client: discord.Client,
        store: PictureStore,
        channels: ChannelStore,
        tag_words: TagWords,
        replies: ReplyCleaner,
    ) -> None:
        self._client = client
        self._store = store
        self._channels = channels
        self._tag_words = tag_words
        self._replies = replies
        self._done: OrderedDict[int, None] = OrderedDict()

    async def __call__(self, picture: Picture) -> None:
        ref = picture.ref
        mode = await self._channels.announcement(ref.place)
        if mode in (Announcement.OFF, Announcement.SILENT) or datetime.now(UTC) - ref.created_at > STALE_AFTER:
            return
        if not self._first_of_message(ref.message_id):
            return
        described = await self._finished_siblings(ref.message_id)
        tags = _all_tags(described)
        if not tags:
            return
        try:
            await self._announce(described, tags, mode)
        except discord.HTTPException as error:
            # No right to speak or react there, or the message has gone: the tags are in the search results anyhow.
            log.info("tags are not announced: %s", error.status, extra={"picture_id": picture.id})

    def _first_of_message(self, message_id: int) -> bool:
        if message_id in self._done:
            return False
        self._done[message_id] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        return True

    async def _finished_siblings(self, message_id: int) -> list[Picture]:
        """The message's pictures, once none of them is still in its first attempt."""
        deadline = asyncio.get_running_loop().time() + _SIBLINGS_S
        while True:
            siblings = await self._store.by_message(message_id)
            if not any(_in_first_attempt(one) for one in siblings) or asyncio.get_running_loop().time() > deadline:
                return [one for one in siblings if one.state is PictureState.READY]
            await asyncio.sleep(_GLANCE_S)

    async def _announce(self, described: Sequence[Picture], tags: Sequence[Tag], mode: Announcement) -> None:
        """described: the pictures of one message; a reply goes as soon as one of them does."""
        ref = described[0].ref
        place = ref.place
        channel = self._client.get_partial_messageable(place.channel_id, guild_id=place.guild_id)
        message = channel.get_partial_message(ref.message_id)
        if mode is Announcement.REACTION:
            for emoji in self._tag_words.emoji(tags)[:MOST_REACTIONS]:
                await message.add_reaction(emoji)
            return
        guild = self._client.get_guild(place.guild_id)
        texts = texts_for(guild.preferred_locale if guild is not None else None)
        line = self._tag_words.line(tags, chinese=texts is CHINESE, most=_LONGEST_REPLY)
        sent = await message.reply(texts.announced_tags.format(tags=line), mention_author=False)
        await self._replies.remember(place, sent.id, [one.id for one in described])


def _in_first_attempt(picture: Picture) -> bool:
    """An attempt counts from when it begins; until it ends, its reason says that it was begun."""
    return picture.state is PictureState.PENDING and picture.attempts <= 1 and picture.reason in (None, INTERRUPTED)


def _all_tags(pictures: Sequence[Picture]) -> list[Tag]:
    """The tags of all these pictures, each label once, likeliest first."""
    best: dict[str, Tag] = {}
    for tag in (tag for picture in pictures for tag in picture.tags):
        if tag.label not in best or best[tag.label].probability < tag.probability:
            best[tag.label] = tag
    return sorted(best.values(), key=lambda tag: -tag.probability)
