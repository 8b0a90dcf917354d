"""The image that a query is about: a file, a message or an indexed image, turned into an embedding."""

from __future__ import annotations

import re
from dataclasses import dataclass

import discord

from bot.discord_io.attachments import Downloader
from bot.discord_io.messages import Messages
from bot.errors import InvalidMessageLink, MessageNotFound, MessageWithoutImage, NotAReply
from bot.indexing.downloads import FairDownloads
from bot.models import RemoteImage, Source
from bot.search.question import Question
from bot.search.service import Audience, SearchService, may_see
from bot.store.images import ImageStore
from clipcore.errors import QueueFull
from clipcore.fair_places import FairPlaces, Owner
from clipcore.types import Vectors

# The host may be any: Discord has several, and the ids are sufficient.
_LINK = re.compile(r"/channels/(\d{1,20})/(\d{1,20})/(\d{1,20})\b")
_SIMILAR = re.compile(r"\b(similar|alike|look-?alikes?|more like this)\b|相似|类似|相像|像", re.IGNORECASE)

MAX_DOWNLOADS = 4
MAX_WAITING = 30


@dataclass(frozen=True, slots=True)
class QueryImage:
    """image_ids: the indexed images of the same message, which the result leaves out."""

    embedding: Vectors
    image_ids: frozenset[int] = frozenset()
    spoiler: bool = False

    @property
    def question(self) -> Question:
        """Every post that is like it."""
        return Question(image=self.embedding, left_out=self.image_ids, every_post=True)


def linked_message(text: str) -> tuple[int, int, int] | None:
    """The ids of the guild, the channel and the message that a link in this text leads to."""
    found = _LINK.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def is_similar_request(message: discord.Message, own_id: int) -> bool:
    """Whether the text mentions the bot (a reply's ping does not count) and asks for similar images."""
    return own_id in message.raw_mentions and _SIMILAR.search(message.content) is not None


class QueryImages:
    """Every method raises what prevents the query: the errors of bot.errors, ImageRejected, EncodingFailed, QueueFull.

    Query images are in memory while they are decoded, so only a few are downloaded at once, and a few more wait.
    Members take turns: one alone has two of the downloads, and two thirds of the waiting room. asker: guild and member.
    """

    def __init__(self, images: ImageStore, search: SearchService, messages: Messages, downloader: Downloader) -> None:
        self._images = images
        self._search = search
        self._messages = messages
        self._downloader = downloader
        self._downloads = FairDownloads(MAX_DOWNLOADS, stalled=0)
        self._admitted = FairPlaces(MAX_DOWNLOADS + MAX_WAITING)

    async def from_attachment(self, asker: Owner, file: discord.Attachment) -> QueryImage:
        """A file given with the command. Nothing of it is stored."""
        image = RemoteImage(Source.ATTACHMENT, file.id, file.url, file.size)
        return QueryImage(await self._embedding_of(asker, image))

    async def from_link(self, asker: Owner, audience: Audience, text: str) -> QueryImage:
        """A message of this guild that the audience may see. For others it looks as if it did not exist."""
        link = linked_message(text)
        if link is None or link[0] != audience.guild_id:
            raise InvalidMessageLink
        guild_id, channel_id, message_id = link
        channel = await self._messages.channel(guild_id, channel_id)
        if channel is None or not await may_see(audience, channel):
            raise MessageNotFound
        return await self.from_message(asker, await self._messages.fetch(guild_id, channel_id, message_id))

    async def from_reply(self, asker: Owner, message: discord.Message) -> QueryImage:
        """The message that this one replies to."""
        reply = message.reference
        if reply is None or reply.message_id is None or reply.type is not discord.MessageReferenceType.reply:
            raise NotAReply
        target = reply.resolved
        if not isinstance(target, discord.Message):
            target = await self._messages.fetch(reply.guild_id or 0, reply.channel_id, reply.message_id)
        return await self.from_message(asker, target)

    async def from_message(self, asker: Owner, message: discord.Message) -> QueryImage:
        """The first image of a message: its stored embedding where it is indexed, else a new one."""
        remote_images = self._messages.downloadable_images_of(message)
        if not remote_images:
            raise MessageWithoutImage
        indexed = {image.ref.key: image for image in await self._images.by_message(message.id)}
        first = indexed.get(remote_images[0].key)
        embedding = await self._search.embedding_of(first) if first is not None else None
        if embedding is None:
            embedding = await self._embedding_of(asker, remote_images[0])
        return QueryImage(embedding, frozenset(image.id for image in indexed.values()), remote_images[0].spoiler)

    async def from_image_id(self, audience: Audience, image_id: int) -> QueryImage:
        """An indexed image that the audience may see."""
        image = await self._search.visible_image(audience, image_id)
        embedding = await self._search.embedding_of(image) if image is not None else None
        if embedding is None:
            raise MessageNotFound
        return QueryImage(embedding, frozenset({image_id}))

    async def _embedding_of(self, asker: Owner, image: RemoteImage) -> Vectors:
        if not self._admitted.take(asker):
            raise QueueFull
        try:
            async with self._downloads.place(asker) as download:
                data = await self._downloader.download(image, arrived=download.arrived)
                download.complete = True
                return await self._search.embedding_of_file(data, asker)
        finally:
            self._admitted.release(asker)
