"""What the index asks of its neighbours where a test or another part of the bot may stand in for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Protocol

from bot.models import ChannelRef, Image, ImageRef, TaggingMode

MakeRoom = Callable[[int], Awaitable[None]]
"""Waits until so many bytes may come into memory, in place of those that were asked for before."""

Fetch = Callable[[ImageRef, MakeRoom], Awaitable[bytes]]
"""Downloads one image, once there is room for as many bytes as it is told to have.

Raises ImageGone, ImageForbidden, ImageUnreachable or ImageTooLarge.
"""

OnFinished = Callable[[Image], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], datetime]


class ChannelSettings(Protocol):
    async def tagging_modes(self, places: Collection[ChannelRef], /) -> dict[ChannelRef, TaggingMode]: ...


class GuildLabels(Protocol):
    async def labels(self, guild_id: int, /) -> list[str] | None: ...
