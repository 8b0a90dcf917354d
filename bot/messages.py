"""Messages as Discord has them now. Magpie keeps ids only, so whatever it shows or downloads is looked up here first."""

from __future__ import annotations

import aiohttp
import discord

from bot.adapters import Sighting, sightings
from bot.errors import PictureForbidden, PictureGone, PictureUnreachable
from bot.records import PictureRef

# Discord's own words for "deleted" (developer docs, opcodes and status codes). Any other 404 may be a proxy's.
_UNKNOWN_CHANNEL = 10003
_UNKNOWN_MESSAGE = 10008


class Messages:
    """Fetches messages by id. hosts: where pictures may be downloaded from."""

    def __init__(self, client: discord.Client, hosts: frozenset[str]) -> None:
        self._client = client
        self._hosts = hosts

    async def fetch(self, guild_id: int, channel_id: int, message_id: int) -> discord.Message:
        """Raises PictureGone where the message or its channel is deleted, PictureForbidden where the bot may not read
        it, PictureUnreachable where Discord does not answer."""
        channel = self._client.get_partial_messageable(channel_id, guild_id=guild_id)
        try:
            return await channel.fetch_message(message_id)
        except discord.NotFound as error:
            if error.code in (_UNKNOWN_CHANNEL, _UNKNOWN_MESSAGE):
                raise PictureGone("the message is deleted") from error
            raise PictureUnreachable("Discord answered 404 without saying what is missing") from error
        except discord.Forbidden as error:
            raise PictureForbidden("the bot may not read the message any more") from error
        except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PictureUnreachable(f"Discord did not give the message: {type(error).__name__}") from error

    async def look(self, ref: PictureRef) -> list[Sighting]:
        """What pictures the message of this picture carries now. Raises like `fetch`."""
        return self.pictures(await self.fetch(ref.place.guild_id, ref.place.channel_id, ref.message_id))

    def pictures(self, message: discord.Message) -> list[Sighting]:
        return sightings(message, self._hosts)
