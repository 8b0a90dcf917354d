"""What a backfill asks Discord beside a channel's history: its archived threads, and the message search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
from discord.http import Route

from bot.discord_io.messages import NETWORK_ERRORS, ImageChannel, Messages, channel_ref, thread_ref, translated_errors
from bot.discord_io.permissions import bot_may_read
from bot.errors import ImageUnreachable, SearchNotReady, SearchUnavailable
from bot.indexing.backfill import ThreadPage
from bot.models import ChannelRef, Hits, ThreadKind
from bot.store.backfills import SearchFilter, TaskKind

_THREADS = 100  # in one request
_HITS = 25
_NOT_INDEXED = 110000  # the code of a 202
_NOT_READY_S = 5.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRIVATE_THREAD = discord.ChannelType.private_thread.value


class DiscordArchive:
    """An `Archive`, see there. Each call is one request."""

    def __init__(self, client: discord.Client, messages: Messages) -> None:
        self._client = client
        self._messages = messages

    async def threads(self, channel: ChannelRef, kind: TaskKind, cursor: int | None) -> ThreadPage:
        """cursor: of joined private threads an id, else the time of archiving in microseconds."""
        http = self._client.http
        request = {
            TaskKind.JOINED: http.get_joined_private_archived_threads,
            TaskKind.PRIVATE: http.get_private_archived_threads,
            TaskKind.PUBLIC: http.get_public_archived_threads,
        }[kind]
        before = None if cursor is None else str(cursor) if kind is TaskKind.JOINED else _as_time(cursor)
        with translated_errors():
            data = await request(channel.channel_id, before, _THREADS)
        found = data["threads"]
        more = bool(found) and data.get("has_more", False)
        return ThreadPage([_ref(channel, one) for one in found], _place(kind, found[-1]) if more else None)

    async def search(
        self, guild_id: int, channels: Sequence[ChannelRef], wanted: SearchFilter, *, after: int, before: int
    ) -> Hits:
        """Private threads are found where the bot has joined them or may manage threads."""
        route = Route("GET", "/guilds/{guild_id}/messages/search", guild_id=guild_id)
        parameters = [("has", wanted.value), *(("channel_id", str(one.channel_id)) for one in channels)]
        parameters += [("min_id", str(after)), ("max_id", str(before)), ("limit", str(_HITS))]
        # discord.py answers with the body of a 202 as well.
        parameters += [("sort_by", "timestamp"), ("sort_order", "desc"), ("include_nsfw", "true")]
        try:
            data: dict[str, Any] = await self._client.http.request(route, params=parameters)
        except discord.HTTPException as error:
            if error.status < 500 and error.status != 429:
                raise SearchUnavailable(f"Discord answered {error.status} to a search") from error
            raise ImageUnreachable(f"Discord answered {error.status} to a search") from error
        except NETWORK_ERRORS as error:
            raise ImageUnreachable(f"Discord did not answer a search: {type(error).__name__}") from error
        raw = [message for group in data.get("messages") or () for message in group]
        incomplete = not raw and data.get("doing_deep_historical_index")
        if data.get("code") == _NOT_INDEXED or "messages" not in data or incomplete:
            raise SearchNotReady(float(data.get("retry_after") or _NOT_READY_S))
        places = {one.channel_id: one for one in channels}
        messages = [self._message(one) for one in raw]
        seen = [
            self._messages.seen(one, place) for one in messages if (place := places.get(one.channel.id)) is not None
        ]
        seen.sort(key=lambda one: one.message_id)
        after = min(message.id for message in messages) - 1 if messages else after
        return Hits(seen, after=after, until=before - 1, total=int(data.get("total_results", 0)))

    def _message(self, data: dict[str, Any]) -> discord.Message:
        """As discord.py makes those of a history."""
        guild_id = int(data["guild_id"]) if "guild_id" in data else None
        place = self._client.get_partial_messageable(int(data["channel_id"]), guild_id=guild_id)
        return self._client._connection.create_message(channel=place, data=data)  # type: ignore[arg-type]


def backfill_tasks(guild: discord.Guild, scope: ImageChannel | None) -> list[tuple[ChannelRef, TaskKind]]:
    """What there is to read in a channel with its threads, or in the whole server, as far as the bot may read it."""
    if isinstance(scope, discord.Thread):
        return [(thread_ref(scope), TaskKind.MESSAGES)] if scope.parent and bot_may_read(scope.parent) else []
    places = [scope] if scope is not None else guild.channels
    readable = [channel for channel in places if bot_may_read(channel)]
    found = [task for channel in readable for task in _tasks_of(channel)]
    parents = {channel.id for channel in readable}
    return found + [(thread_ref(one), TaskKind.MESSAGES) for one in guild.threads if one.parent_id in parents]


def _tasks_of(channel: discord.abc.GuildChannel) -> Iterator[tuple[ChannelRef, TaskKind]]:
    if (ref := channel_ref(channel)) is not None:
        yield ref, TaskKind.MESSAGES
    if isinstance(channel, discord.TextChannel | discord.ForumChannel):
        place = ChannelRef(channel.guild.id, channel.id)
        yield place, TaskKind.PUBLIC
        if channel.type is discord.ChannelType.text:
            manages = channel.permissions_for(channel.guild.me).manage_threads
            yield place, TaskKind.PRIVATE if manages else TaskKind.JOINED


def _ref(channel: ChannelRef, thread: Mapping[str, Any]) -> ChannelRef:
    kind = ThreadKind.PRIVATE if thread["type"] == _PRIVATE_THREAD else ThreadKind.PUBLIC
    return ChannelRef(channel.guild_id, int(thread["id"]), channel.channel_id, kind)


def _place(kind: TaskKind, thread: Mapping[str, Any]) -> int:
    if kind is TaskKind.JOINED:
        return int(thread["id"])
    archived = datetime.fromisoformat(thread["thread_metadata"]["archive_timestamp"])
    return (archived - _EPOCH) // timedelta(microseconds=1)


def _as_time(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
