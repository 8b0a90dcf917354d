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

MAX_DOWNLOADS = 4
MAX_WAITING = 30


@dataclass(frozen=True, slots=True)
class QueryImage:
    """model: its key, of the one that made the embedding. image_ids: the indexed image, and those of the same message,
    which the result leaves out. message_id: that message, some of whose images may be indexed any moment now. siblings:
    how many more images it has.
    """

    embedding: Vectors
    model: str
    image_ids: frozenset[int] = frozenset()
    message_id: int | None = None
    siblings: int = 0
    spoiler: bool = False

    @property
    def question(self) -> Question:
        """Every post that is like it."""
        return Question(
            image=self.embedding,
            model=self.model,
            left_out=self.image_ids,
            left_out_message=self.message_id,
            every_post=True,
        )


def linked_message(text: str) -> tuple[int, int, int] | None:
    """The ids of the guild, the channel and the message that a link in this text leads to."""
    found = _LINK.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


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
        return QueryImage(*await self._embedding_of(asker, image), spoiler=file.is_spoiler())

    async def from_link(self, asker: Owner, audience: Audience, text: str) -> QueryImage:
        """The first image of the message that the link in this text leads to."""
        return await self.from_message(asker, await self.linked(audience, text))

    async def linked(self, audience: Audience, text: str) -> discord.Message:
        link = linked_message(text)
        if link is None or link[0] != audience.guild_id:
            raise InvalidMessageLink
        return await self.visible_message(audience, link[1], link[2])

    async def visible_message(self, audience: Audience, channel_id: int, message_id: int) -> discord.Message:
        """A message of this guild that the audience may see. For others it looks as if it did not exist."""
        channel = await self._messages.channel(audience.guild_id, channel_id)
        if channel is None or not await may_see(audience, channel):
            raise MessageNotFound
        return await self._messages.fetch(audience.guild_id, channel_id, message_id)

    async def asked_about(self, message: discord.Message) -> discord.Message:
        """This message where it has an image, else the one that it replies to."""
        if self._messages.downloadable_images_of(message):
            return message
        reply = message.reference
        if reply is None or reply.message_id is None or reply.type is not discord.MessageReferenceType.reply:
            raise NotAReply
        if isinstance(reply.resolved, discord.Message):
            return reply.resolved
        return await self._messages.fetch(reply.guild_id or 0, reply.channel_id, reply.message_id)

    def images_of(self, message: discord.Message) -> list[RemoteImage]:
        """At least one."""
        if images := self._messages.downloadable_images_of(message):
            return images
        raise MessageWithoutImage

    async def from_message(
        self, asker: Owner, message: discord.Message, image: RemoteImage | None = None
    ) -> QueryImage:
        """An image of a message, or else its first: the stored embedding where it is indexed, else a new one."""
        images = self.images_of(message)
        image = image or images[0]
        indexed = {one.ref.key: one for one in await self._images.by_message(message.id)}
        known = indexed.get(image.key)
        model = self._search.model_key
        embedding = await self._search.embedding_of(known) if known is not None else None
        if embedding is None:
            embedding, model = await self._embedding_of(asker, image)
        left_out = frozenset(one.id for one in indexed.values())
        return QueryImage(embedding, model, left_out, message.id, len(images) - 1, image.spoiler)

    async def from_image_id(self, audience: Audience, image_id: int) -> QueryImage:
        """An indexed image that the audience may see."""
        image = await self._search.visible_image(audience, image_id)
        model = self._search.model_key
        embedding = await self._search.embedding_of(image) if image is not None else None
        if embedding is None:
            raise MessageNotFound
        return QueryImage(embedding, model, frozenset({image_id}))

    async def _embedding_of(self, asker: Owner, image: RemoteImage) -> tuple[Vectors, str]:
        """With the key of the model that made it."""
        if not self._admitted.take(asker):
            raise QueueFull
        try:
            async with self._downloads.place(asker) as download:
                data = await self._downloader.download(image, arrived=download.arrived)
                download.complete = True
                model = self._search.model_key
                return await self._search.embedding_of_file(data, asker), model
        finally:
            self._admitted.release(asker)
