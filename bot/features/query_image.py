"""Where the image of a question comes from: a file, a link, a message, a reply, or an image that is remembered."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import discord

from bot.discord_io.attachments import Fetcher
from bot.discord_io.messages import Messages
from bot.errors import ImageForbidden, ImageGone, ImageTooLarge, ImageUnreachable
from bot.i18n import Texts
from bot.models import Image, RemoteImage, Source
from bot.search.service import Audience, SearchService
from bot.store.images import ImageStore
from clipcore.errors import EncodingFailed, EngineClosed, ImageRejected, QueueFull, RejectReason
from clipcore.types import Vectors

# The host is left open: Discord has several, and the ids say enough.
_LINK = re.compile(r"/channels/(?P<guild>\d{1,20})/(?P<channel>\d{1,20})/(?P<message>\d{1,20})\b")
_SIMILAR = re.compile(r"\b(similar|alike|look-?alikes?|more like this)\b|相似|类似|相像|像", re.IGNORECASE)

# A question's image is held in memory while it is read, so few are, and a crowd is sent away rather than lined up.
LOOKS_AT_ONCE = 3
MOST_WAITING = 30


class NoQuestion(Exception):
    """There is nothing to compare with. sentence: what to tell the person who asked."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class MessageLink:
    guild_id: int
    channel_id: int
    message_id: int


@dataclass(frozen=True, slots=True)
class Question:
    """vector: the image asked about; about: ids of what is remembered of its message, left out of the answer."""

    vector: Vectors
    about: frozenset[int] = frozenset()


def message_link(text: str) -> MessageLink | None:
    found = _LINK.search(text)
    return MessageLink(*(int(found[part]) for part in ("guild", "channel", "message"))) if found else None


def is_similar_request(message: discord.Message, own_id: int) -> bool:
    """Whether the bot is named in the text itself (a reply's own ping does not count) and asked for look-alikes."""
    return own_id in message.raw_mentions and _SIMILAR.search(message.content) is not None


class Questions:
    """Every method raises NoQuestion where there is no image to ask about."""

    def __init__(self, store: ImageStore, search: SearchService, messages: Messages, fetcher: Fetcher) -> None:
        self._store = store
        self._search = search
        self._messages = messages
        self._fetcher = fetcher
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._waiting = 0

    async def of_attachment(self, image: discord.Attachment, texts: Texts) -> Question:
        """A file given with the command. It is looked at once and not kept."""
        return Question(await self._look_at(RemoteImage(Source.ATTACHMENT, image.id, image.url, image.size), texts))

    async def of_link(self, audience: Audience, link: MessageLink | None, texts: Texts) -> Question:
        """A message of this server, if the asker may see it; whether it exists is not told to anybody else."""
        if link is None or link.guild_id != audience.guild_id:
            raise NoQuestion(texts.not_a_link_here)
        place = await self._messages.place(link.guild_id, link.channel_id)
        if place is None or link.channel_id not in await audience.readable([place]):
            raise NoQuestion(texts.message_not_found)
        return await self.of_message(await self._fetch(link, texts), texts)

    async def of_reply(self, message: discord.Message, texts: Texts) -> Question:
        """The message that this one replies to."""
        reference = message.reference
        if (
            reference is None
            or reference.message_id is None
            or reference.type is not discord.MessageReferenceType.reply
        ):
            raise NoQuestion(texts.reply_to_an_image)
        if isinstance(reference.resolved, discord.Message):
            return await self.of_message(reference.resolved, texts)
        return await self.of_message(
            await self._fetch(MessageLink(reference.guild_id or 0, reference.channel_id, reference.message_id), texts),
            texts,
        )

    async def of_message(self, message: discord.Message, texts: Texts) -> Question:
        """The first image of a message. The stored vector where the image is remembered, else a fresh look."""
        seen = self._messages.images(message)
        if not seen:
            raise NoQuestion(texts.message_without_image)
        remembered_here = await self._store.by_message(message.id)
        known = {image.ref.key: image for image in remembered_here}
        about = frozenset(image.id for image in known.values())
        remembered = known.get(seen[0].key)
        vector = await self._search.embedding_of(remembered) if remembered is not None else None
        if vector is None:
            vector = await self._look_at(seen[0], texts)
        return Question(vector, about)

    async def of_image(self, image: Image, texts: Texts) -> Question:
        vector = await self._search.embedding_of(image)
        if vector is None:
            raise NoQuestion(texts.message_not_found)
        return Question(vector, frozenset({image.id}))

    async def _fetch(self, link: MessageLink, texts: Texts) -> discord.Message:
        try:
            return await self._messages.fetch(link.guild_id, link.channel_id, link.message_id)
        except (ImageGone, ImageForbidden):
            raise NoQuestion(texts.message_not_found) from None
        except ImageUnreachable:
            raise NoQuestion(texts.image_unreachable) from None

    async def _look_at(self, sighting: RemoteImage, texts: Texts) -> Vectors:
        if self._waiting >= MOST_WAITING:
            raise NoQuestion(texts.busy)
        self._waiting += 1
        try:
            await self._looking.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._read(sighting, texts)
        finally:
            self._looking.release()

    async def _read(self, sighting: RemoteImage, texts: Texts) -> Vectors:
        try:
            return await self._search.embedding_of_file(await self._fetcher.download(sighting))
        except ImageTooLarge:
            megabytes = self._fetcher.max_bytes // (1024 * 1024)
            raise NoQuestion(texts.image_too_large.format(megabytes=max(1, megabytes))) from None
        except ImageUnreachable:
            raise NoQuestion(texts.image_unreachable) from None
        except ImageRejected as rejected:
            raise NoQuestion(_why_unusable(rejected, texts)) from None
        except EncodingFailed:
            raise NoQuestion(texts.image_unusable) from None
        except (QueueFull, EngineClosed):
            raise NoQuestion(texts.busy) from None


def _why_unusable(rejected: ImageRejected, texts: Texts) -> str:
    if rejected.reason is RejectReason.TOO_MANY_PIXELS and rejected.most is not None:
        return texts.image_too_many_pixels.format(pixels=f"{rejected.most:,}")
    return texts.image_unusable
