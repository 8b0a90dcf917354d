"""A channel's past messages, as the catch-up asks for them: message ids with the pictures to remember."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bot.adapters import pictures_in, sightings
from bot.fetcher import Fetcher
from bot.messages import Messages
from bot.records import PictureRef


class History:
    def __init__(
        self, messages: Messages, fetcher: Fetcher, hosts: frozenset[str], *, own_id: int, other_bots: bool
    ) -> None:
        self._messages = messages
        self._fetcher = fetcher
        self._hosts = hosts
        self._own_id = own_id
        self._other_bots = other_bots

    async def __call__(self, channel_id: int, after: int) -> AsyncIterator[tuple[int, list[PictureRef]]]:
        """Every message newer than `after`, oldest first. Raises PictureGone, PictureForbidden, PictureUnreachable."""
        async for message in self._messages.since(channel_id, after):
            refs = pictures_in(message, self._hosts, own_id=self._own_id, other_bots=self._other_bots)
            if refs:
                self._fetcher.remember(sightings(message, self._hosts))
            yield message.id, refs
