"""What the index asks of its neighbours where a test or another part of the bot may stand in for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from bot.models import ChannelRef, Image, ImageRef, TaggingMode
from bot.store.embeddings import EmbeddingChunk

Accept = Callable[[Sequence[ImageRef]], Awaitable[list[Image]]]
"""Commits these images as pending; those not known before come back."""

MakeRoom = Callable[[int], Awaitable[None]]
"""Waits until so many bytes may come into memory, in place of those that were asked for before."""

Fetch = Callable[[ImageRef, MakeRoom], Awaitable[bytes]]
"""Downloads one image, once there is room for as many bytes as it is told to have.

Raises ImageGone, ImageForbidden, ImageUnreachable or ImageTooLarge.
"""

History = Callable[[int, int], AsyncIterator[tuple[int, list[ImageRef]]]]
"""history(channel_id, after): every message newer than `after`, oldest first, as (message id, its images).

Raises ImageForbidden or ImageGone where the channel cannot be read, ImageUnreachable where it cannot just now.
"""

OnFinished = Callable[[Image], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], datetime]


class VectorSource(Protocol):
    """Where a server's vectors are read from when its index is built."""

    def embeddings(self, guild_id: int, model_key: str, /) -> AsyncIterator[EmbeddingChunk]: ...


class ChannelSettings(Protocol):
    async def tagging_modes(self, places: Collection[ChannelRef], /) -> dict[ChannelRef, TaggingMode]: ...


class ChannelMarks(Protocol):
    """The newest message id seen in each channel. Marks only ever grow."""

    async def last_seen(self, channel_id: int, /) -> int | None: ...
    async def mark_seen(self, place: ChannelRef, message_id: int, /) -> None: ...
    async def seen_channels(self, guild_id: int, /) -> dict[int, int]: ...


class GuildLabels(Protocol):
    async def labels(self, guild_id: int, /) -> list[str] | None: ...
