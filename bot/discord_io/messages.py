"""Messages and channels as Discord has them now, and what Magpie keeps of them.

The store keeps ids only; whatever is shown or downloaded is looked up here first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import aiohttp
import discord
from cachetools import LRUCache, TLRUCache

from bot.discord_io.attachments import host_of, images_of, is_withheld
from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.indexing.comparison import PAGE_MESSAGES
from bot.models import NEWEST, ChannelRef, ImageKey, ImageRef, Page, PublicReply, RemoteImage, SeenMessage, ThreadKind

# Discord's codes for "deleted" and "not allowed" (developer docs, opcodes and status codes). Any other 404 or 403 may
# come from a proxy, or be an "internal network error".
_UNKNOWN_CHANNEL = 10003
_UNKNOWN_MESSAGE = 10008
_MISSING_ACCESS = 50001
_MISSING_PERMISSIONS = 50013

_MAX_RECENT_IMAGES = 4096

_MAX_REFUSALS = 8192
_BOT_REFUSED_S = 300.0
_MEMBER_REFUSED_S = 60.0

NETWORK_ERRORS = (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError)
"""What a request to Discord can raise."""

LABEL_EMOJI = "🏷️"
"""What a reply with tags begins with."""

LIKE = "magpie-menu:like"
"""The custom id of the menu below the pictures of an answer; its values are their ids."""

REPOST_EMOJI = "♻️"
"""The bot's reaction to a picture that was posted before."""

ALLOW_REPOSTS = "magpie:repost_allow:"
"""What the custom id of the button below a notice of a repost begins with; the ids of its images follow."""

ImageChannel = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.ForumChannel | discord.Thread
"""What the channel option of a command accepts: every type of channel in which images are posted."""


class Refusals:
    """What Discord refused lately and its cache does not tell, so that no question asks again: channels to the bot, and
    private threads to members who have not joined them. Nothing is ever shown because of what stands here.

    A refusal is (guild id, channel id, user id); without a user it is the bot that was refused.
    """

    def __init__(self) -> None:
        self._refusals: TLRUCache[tuple[int, int, int | None], None] = TLRUCache(
            _MAX_REFUSALS, lambda key, _, now: now + (_BOT_REFUSED_S if key[2] is None else _MEMBER_REFUSED_S)
        )

    def __contains__(self, refusal: tuple[int, int, int | None]) -> bool:
        return refusal in self._refusals

    def add(self, guild_id: int, channel_id: int, user_id: int | None = None) -> None:
        self._refusals[guild_id, channel_id, user_id] = None

    def forget(self, guild_id: int) -> None:
        """Permissions or memberships in this guild have changed."""
        for refusal in [refusal for refusal in self._refusals if refusal[0] == guild_id]:
            self._refusals.pop(refusal, None)


class Messages:
    """hosts: where images may be downloaded from. other_bots: whether to index images of other bots and webhooks.

    recent_images: images of the messages received last, by key, so that their URLs need not be looked up again.
    """

    def __init__(self, client: discord.Client, hosts: frozenset[str], *, other_bots: bool) -> None:
        self._client = client
        self._hosts = hosts
        self._other_bots = other_bots
        self.recent_images: LRUCache[ImageKey, RemoteImage] = LRUCache(_MAX_RECENT_IMAGES)
        self.refusals = Refusals()

    async def fetch(self, guild_id: int, channel_id: int, message_id: int) -> discord.Message:
        """Raises ImageGone where the message or its channel is deleted, ImageForbidden where the bot may not read it,
        ImageUnreachable where Discord does not answer."""
        channel = self._client.get_partial_messageable(channel_id, guild_id=guild_id)
        with translated_errors():
            try:
                return await channel.fetch_message(message_id)
            except discord.Forbidden as error:
                if _means_refused(error):
                    self.refusals.add(guild_id, channel_id)
                raise

    async def look_up(self, ref: ImageRef) -> list[RemoteImage]:
        """All images that the message of this image carries now: one that is missing has been removed.

        Raises what `fetch` raises; ImageUnreachable also where Discord withholds the message's content.
        """
        message = await self.fetch(ref.channel.guild_id, ref.channel.channel_id, ref.message_id)
        if is_withheld(message):
            raise ImageUnreachable("Discord withholds the message's content; is MESSAGE CONTENT INTENT enabled?")
        return images_of(message)

    async def look_up_all(self, refs: Collection[ImageRef]) -> AsyncIterator[tuple[ImageRef, list[RemoteImage] | None]]:
        """As `look_up`, for images of one channel, the newest first, with a request for a hundred neighbouring messages
        each. None: the message is deleted. Those whose content Discord withholds are left out.

        Raises ImageForbidden and ImageUnreachable, and ImageGone where the channel is deleted; then nothing is known of
        the rest.
        """
        waiting = sorted(refs, key=lambda ref: -ref.message_id)
        while waiting:
            channel, before = waiting[0].channel, waiting[0].message_id + 1
            found = await self._history(channel, before=before)
            messages = {message.id: message for message in found}
            oldest = found[0].id if len(found) == PAGE_MESSAGES else 0
            for ref in waiting:
                if ref.message_id < oldest:
                    break
                if (message := messages.get(ref.message_id)) is None:  # which alone does not mean that it is deleted
                    yield ref, await self._carried(ref)
                elif not is_withheld(message):
                    yield ref, images_of(message)
            waiting = [ref for ref in waiting if ref.message_id < oldest]

    async def _carried(self, ref: ImageRef) -> list[RemoteImage] | None:
        try:
            return await self.look_up(ref)
        except ImageGone:
            return None

    def downloadable_images_of(self, message: discord.Message) -> list[RemoteImage]:
        """Those of its images that are on one of the hosts."""
        return self._downloadable(images_of(message))

    def seen(self, message: discord.Message, channel: ChannelRef | None) -> SeenMessage:
        """What the store is compared with. Magpie's own messages, and those outside guilds, have no images to index."""
        images = images_of(message)
        carried = None if is_withheld(message) else frozenset(image.key for image in images)
        own = self._client.user is not None and message.author.id == self._client.user.id
        by_bot = message.author.bot or message.webhook_id is not None
        if channel is None or own or (by_bot and not self._other_bots):
            return SeenMessage(message.id, carried=carried, reply=public_reply(message) if own else None)
        downloadable = self._downloadable(images)
        self.recent_images.update({image.key: image for image in downloadable})
        refs = tuple(
            ImageRef(channel, message.id, image.attachment_id, image.source, message.author.id, image.spoiler)
            for image in downloadable
        )
        return SeenMessage(message.id, refs, carried)

    def _downloadable(self, images: Iterable[RemoteImage]) -> list[RemoteImage]:
        return [image for image in images if host_of(image.url) in self._hosts]

    async def page(self, channel: ChannelRef, *, after: int | None = None, before: int | None = None) -> Page:
        """The oldest 100 messages of a channel after a message id, or the newest, before one, with one request. Raises
        what `History` raises.
        """
        found = await self._history(channel, after=after, before=before)
        full = len(found) == PAGE_MESSAGES
        return Page(
            [self.seen(message, channel) for message in found],
            after=after if after is not None else found[0].id - 1 if full else 0,
            until=before - 1 if before is not None else found[-1].id if full and after is not None else NEWEST,
        )

    async def _history(
        self, channel: ChannelRef, *, after: int | None = None, before: int | None = None
    ) -> list[discord.Message]:
        """By rising id."""
        place = self._client.get_partial_messageable(channel.channel_id, guild_id=channel.guild_id)
        bounds = {"after": after, "before": before}
        limits = {name: discord.Object(bound) for name, bound in bounds.items() if bound is not None}
        with translated_errors():
            found = [one async for one in place.history(limit=PAGE_MESSAGES, oldest_first=after is not None, **limits)]
        if not found:  # Discord answers so, too, where the bot may not read the history
            with suppress(ImageGone):
                await self.fetch(channel.guild_id, channel.channel_id, channel.channel_id)
        return sorted(found, key=lambda message: message.id)

    async def channel(self, guild_id: int, channel_id: int) -> ChannelRef | None:
        """A channel or thread of this guild, also an archived one; None where Discord does not tell."""
        guild = self._client.get_guild(guild_id)
        if guild is None:
            return None
        channel: object = guild.get_channel_or_thread(channel_id)
        if channel is None:
            with suppress(*NETWORK_ERRORS):
                channel = await guild.fetch_channel(channel_id)
        return channel_ref(channel)


def public_reply(message: discord.Message) -> PublicReply | None:
    """What a message of the bot's own says about images; None for any other. Only for messages that it posted itself.

    By this a reply is known again whose sending the process did not survive.
    """
    reference = message.reference
    replies = reference is not None and reference.type is discord.MessageReferenceType.reply
    to = reference.message_id if reference is not None and replies else None
    if shown := tuple(_shown_images(message.components)):
        return PublicReply(to or message.id, shown)
    return PublicReply(to) if to is not None and message.content.startswith(LABEL_EMOJI) else None


def _shown_images(components: Sequence[discord.Component]) -> Iterator[int]:
    for component in components:
        if isinstance(component, discord.ActionRow):
            for child in component.children:
                if isinstance(child, discord.SelectMenu) and child.custom_id == LIKE:
                    yield from (int(option.value) for option in child.options)
                elif isinstance(child, discord.Button) and (child.custom_id or "").startswith(ALLOW_REPOSTS):
                    yield from (int(id_) for id_ in (child.custom_id or "").removeprefix(ALLOW_REPOSTS).split(":"))


def channel_ref(channel: object) -> ChannelRef | None:
    """None for what is not a channel of a guild in which messages are posted, and for partial channels."""
    if isinstance(channel, discord.Thread):
        return thread_ref(channel)
    if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.StageChannel):
        return ChannelRef(channel.guild.id, channel.id)
    return None


def thread_ref(thread: discord.Thread) -> ChannelRef:
    kind = ThreadKind.PRIVATE if thread.is_private() else ThreadKind.PUBLIC
    return ChannelRef(thread.guild.id, thread.id, thread.parent_id, kind)


def means_deleted(error: discord.NotFound) -> bool:
    return error.code in (_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE)


def _means_refused(error: discord.Forbidden) -> bool:
    return error.code in (_MISSING_ACCESS, _MISSING_PERMISSIONS)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Makes ImageGone, ImageForbidden or ImageUnreachable of what a request to Discord raises."""
    try:
        yield
    except discord.NotFound as error:
        if means_deleted(error):
            raise ImageGone("the message is deleted") from error
        raise ImageUnreachable("Discord answered 404 without saying what is missing") from error
    except discord.Forbidden as error:
        if _means_refused(error):
            raise ImageForbidden("the bot may not read the message") from error
        raise ImageUnreachable("Discord answered 403 without saying what is not allowed") from error
    except NETWORK_ERRORS as error:
        raise ImageUnreachable(f"Discord did not deliver the message: {type(error).__name__}") from error
