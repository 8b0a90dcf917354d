"""Messages as Discord has them now. Magpie keeps ids only; what it shows or downloads is looked up here first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import discord

from bot.discord_io.attachments import Fetcher, carried, images_in, place_of, sightings, withheld
from bot.errors import ImageForbidden, ImageGone, ImageUnreachable
from bot.models import ChannelRef, ImageRef, RemoteImage

# Discord's own words for "deleted" (developer docs, opcodes and status codes). Any other 404 may be a proxy's.
_UNKNOWN_CHANNEL = 10003
_UNKNOWN_MESSAGE = 10008


class Messages:
    """Fetches messages by id. hosts: where images may be downloaded from."""

    def __init__(self, client: discord.Client, hosts: frozenset[str]) -> None:
        self._client = client
        self._hosts = hosts

    async def fetch(self, guild_id: int, channel_id: int, message_id: int) -> discord.Message:
        """Raises ImageGone where the message or its channel is deleted, ImageForbidden where the bot may not read
        it, ImageUnreachable where Discord does not answer."""
        channel = self._client.get_partial_messageable(channel_id, guild_id=guild_id)
        with _discord_trouble():
            return await channel.fetch_message(message_id)

    async def look(self, ref: ImageRef) -> list[RemoteImage]:
        """All images that the message of this image carries now, so that one not among them has been removed.

        Raises like `fetch`; also ImageUnreachable where Discord keeps back what is in the message.
        """
        message = await self.fetch(ref.channel.guild_id, ref.channel.channel_id, ref.message_id)
        if withheld(message):
            raise ImageUnreachable("Discord does not tell what is in the message; is MESSAGE CONTENT INTENT on?")
        return carried(message)

    async def since(self, channel_id: int, after: int) -> AsyncIterator[discord.Message]:
        """Every message of a channel newer than `after`, oldest first. Raises like `fetch`."""
        channel = self._client.get_channel(channel_id)
        if not isinstance(channel, discord.abc.Messageable):
            raise ImageGone("the channel is not known any more")
        with _discord_trouble():
            async for message in channel.history(limit=None, after=discord.Object(after), oldest_first=True):
                yield message

    async def place(self, guild_id: int, channel_id: int) -> ChannelRef | None:
        """Where a channel of this server stands, an archived thread included; None where Discord does not say."""
        guild = self._client.get_guild(guild_id)
        if guild is None:
            return None
        channel: object = guild.get_channel_or_thread(channel_id)
        if channel is None:
            try:
                channel = await guild.fetch_channel(channel_id)
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError):
                return None
        return place_of(channel)

    async def is_deleted(self, channel_id: int) -> bool:
        """Whether Discord says that there is no such channel or thread. Any other answer, or none, is a no."""
        try:
            await self._client.fetch_channel(channel_id)
        except discord.NotFound as error:
            return error.code == _UNKNOWN_CHANNEL
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError):
            return False
        return False

    def images(self, message: discord.Message) -> list[RemoteImage]:
        """Those that may be downloaded."""
        return sightings(message, self._hosts)


def means_deleted(error: discord.NotFound) -> bool:
    return error.code in (_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE)


@contextmanager
def _discord_trouble() -> Iterator[None]:
    """Turns discord.py's errors into what the rest of Magpie decides upon."""
    try:
        yield
    except discord.NotFound as error:
        if means_deleted(error):
            raise ImageGone("the message is deleted") from error
        raise ImageUnreachable("Discord answered 404 without saying what is missing") from error
    except discord.Forbidden as error:
        raise ImageForbidden("the bot may not read the message any more") from error
    except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ImageUnreachable(f"Discord did not give the message: {type(error).__name__}") from error


class History:
    def __init__(
        self, messages: Messages, fetcher: Fetcher, hosts: frozenset[str], *, own_id: int, other_bots: bool
    ) -> None:
        self._messages = messages
        self._fetcher = fetcher
        self._hosts = hosts
        self._own_id = own_id
        self._other_bots = other_bots

    async def __call__(self, channel_id: int, after: int) -> AsyncIterator[tuple[int, list[ImageRef]]]:
        """Every message newer than `after`, oldest first. Raises ImageGone, ImageForbidden, ImageUnreachable."""
        async for message in self._messages.since(channel_id, after):
            refs = images_in(message, self._hosts, own_id=self._own_id, other_bots=self._other_bots)
            if refs:
                self._fetcher.remember(sightings(message, self._hosts))
            yield message.id, refs
