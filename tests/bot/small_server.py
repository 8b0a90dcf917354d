"""A server that changes while the bot watches, and what Discord would show to whom: its documented rules, written out
here once more and sharing nothing with the bot's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import discord
import numpy as np

from bot.discord_io.attachments import preview_id
from bot.models import Source
from sandbox.payloads import channel_json
from sandbox.state import Clock, State
from tests.bot import discord_objects
from tests.bot.discord_objects import BOT, EVERYONE, OWNER, PRIVATE_THREAD, STAGE, VOICE
from tests.indexing.support import axis

# Discord's bits (developer docs, topics/permissions).
ADMINISTRATOR, VIEW, HISTORY, CONNECT, MANAGE_THREADS = 1 << 3, 1 << 10, 1 << 16, 1 << 20, 1 << 34
EVERYTHING = ADMINISTRATOR | VIEW | HISTORY | CONNECT | MANAGE_THREADS
ROLES = (2_001, 2_002)
FAR_FUTURE = 32e9  # in the year 2984


@dataclass
class Picture:
    """near: its cosine with the query of the tests. there: whether its message still carries it. indexed: whether the
    bot should know it.
    """

    message_id: int
    number: int
    source: Source
    author: int
    near: float
    side: int
    content: str
    spoiler: bool
    there: bool = True
    indexed: bool = False

    @property
    def url(self) -> str:
        return f"https://example.org/{self.number}.png"

    @property
    def key(self) -> tuple[int, Source, int]:
        preview = self.source is Source.PREVIEW
        return self.message_id, self.source, preview_id(self.message_id, self.url) if preview else self.number

    @property
    def sight(self) -> np.ndarray:
        return (self.near * axis(0) + np.sqrt(1 - self.near**2) * axis(self.side)).astype(np.float32)


@dataclass
class Place:
    """A channel, or a thread with its parent. overwrites: allowed and denied bits by role or member id."""

    id: int
    kind: int
    parent: int | None = None
    nsfw: bool = False
    overwrites: dict[int, tuple[int, int]] = field(default_factory=dict)
    members: set[int] = field(default_factory=set)
    archived: bool = False
    pictures: list[Picture] = field(default_factory=list)


@dataclass
class Server:
    """refusing: places that Discord refuses to the bot, whatever the permissions say. down: nothing is answered.

    requests: how many membership requests were answered; looked_up: places of the messages that were requested.
    """

    everyone: int = VIEW | HISTORY | CONNECT
    role_bits: dict[int, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    roles: dict[int, set[int]] = field(default_factory=dict)
    timed_out: set[int] = field(default_factory=set)
    places: dict[int, Place] = field(default_factory=dict)
    refusing: set[int] = field(default_factory=set)
    down: bool = False
    requests: int = 0
    looked_up: list[int] = field(default_factory=list)

    # -- Discord's rules

    def root(self, place: Place) -> Place | None:
        return place if place.parent is None else self.places.get(place.parent)

    def rights(self, who: int, channel: Place) -> int:
        """Base, administrator, @everyone, roles, member; then time-out; without VIEW nothing."""
        if who == OWNER:
            return EVERYTHING
        roles = self.roles.get(who, set())
        have = self.everyone
        for role in roles:
            have |= self.role_bits[role]
        if have & ADMINISTRATOR:
            return EVERYTHING
        allow, deny = channel.overwrites.get(EVERYONE, (0, 0))
        have = have & ~deny | allow
        mine = [channel.overwrites[role] for role in roles if role in channel.overwrites]
        for _, deny in mine:
            have &= ~deny
        for allow, _ in mine:
            have |= allow
        allow, deny = channel.overwrites.get(who, (0, 0))
        have = have & ~deny | allow
        if who in self.timed_out:
            have &= VIEW | HISTORY
        return have if have & VIEW else 0

    def follows(self, who: int, place: Place) -> bool:
        """Whether new messages there reach this user."""
        root = self.root(place)
        have = self.rights(who, root) if root is not None else 0
        if root is None or not have & VIEW or (root.kind in (VOICE, STAGE) and not have & CONNECT):
            return False
        return place.kind != PRIVATE_THREAD or who in place.members or bool(have & MANAGE_THREADS)

    def reads(self, who: int, place: Place) -> bool:
        """Whether this user may read old messages there."""
        root = self.root(place)
        return root is not None and self.follows(who, place) and bool(self.rights(who, root) & HISTORY)

    def may_show(self, place: Place, who: int, shown_in: int) -> bool:
        """Whether an answer in the channel `shown_in` may show this user what is in the place."""
        root, here = self.root(place), self.places.get(shown_in)
        there = self.root(here) if here is not None else None
        if root is None or (root.nsfw and (there is None or not there.nsfw)):
            return False
        return self.reads(who, place)

    def shows(self, place: Place, who: int, shown_in: int) -> bool:
        """Whether it must, because the bot can."""
        return self.may_show(place, who, shown_in) and self.reads(BOT, place) and place.id not in self.refusing

    def pictures(self) -> Iterator[tuple[Place, Picture]]:
        for place in self.places.values():
            for picture in place.pictures:
                yield place, picture

    # -- discord.py's view

    def guild(self, client: discord.Client) -> discord.Guild:
        """As the bot's cache has it now: archived threads are not in it."""
        made = discord_objects.guild(
            [
                discord_objects.channel(
                    one.id,
                    one.kind,
                    [
                        discord_objects.overwrite(
                            target, member=target not in (EVERYONE, *ROLES), allow=allow, deny=deny
                        )
                        for target, (allow, deny) in one.overwrites.items()
                    ],
                    nsfw=one.nsfw,
                )
                for one in self.places.values()
                if one.parent is None
            ],
            everyone=self.everyone,
            roles=[discord_objects.role(role, value) for role, value in self.role_bits.items()],
            threads=[
                discord_objects.thread(one.id, one.parent, one.kind)
                for one in self.places.values()
                if one.parent is not None and not one.archived
            ],
            client=client,
            bot_roles=sorted(self.roles.get(BOT, set())),
        )
        cast(Any, client)._connection._add_guild(made)
        return made

    def member(self, guild: discord.Guild, who: int) -> discord.Member:
        until = FAR_FUTURE if who in self.timed_out else None
        return discord_objects.member(guild, who, sorted(self.roles.get(who, set())), until)

    def message(self, place_id: int, message_id: int) -> Any:
        """The payload of a message with the pictures that it still carries."""
        carried = [one for one in self.places[place_id].pictures if one.message_id == message_id and one.there]
        files = {
            source: [
                discord_objects.attachment(one.number, flags=8 if one.spoiler else 0)
                for one in carried
                if one.source is source
            ]
            for source in (Source.ATTACHMENT, Source.FORWARD)
        }
        previews = [one for one in carried if one.source is Source.PREVIEW]
        bars = "||" if any(one.spoiler for one in previews) else ""
        media = {one.number: {"url": one.url, "proxy_url": one.url, "width": 1, "height": 1} for one in previews}
        return discord_objects.message_data(
            place_id,
            message_id,
            carried[0].author,
            content=f"{bars}{' '.join(one.url for one in previews)}{bars} words",
            embeds=[{"type": "image", "url": one.url, "thumbnail": media[one.number]} for one in previews],
            attachments=files[Source.ATTACHMENT],
            message_snapshots=[discord_objects.snapshot(attachments=files[Source.FORWARD])]
            if files[Source.FORWARD]
            else [],
        )

    # -- Discord's answers, in the place of discord.py's HTTP client

    async def get_message(self, channel_id: int, message_id: int) -> Any:
        self.looked_up.append(channel_id)
        place = self._seen(channel_id)
        if not self.reads(BOT, place):
            raise _error(discord.Forbidden, 50001)
        if not any(one.message_id == message_id and one.there for one in place.pictures):
            raise _error(discord.NotFound, 10008)
        return self.message(channel_id, message_id)

    async def logs_from(self, channel_id: int, limit: int, *, before: int | None = None, **_: object) -> list[Any]:
        """The newest messages with pictures: an empty list, and no error, where the bot may not read the history."""
        self.looked_up.append(channel_id)
        place = self._seen(channel_id)
        if not self.reads(BOT, place):
            return []
        there = {one.message_id for one in place.pictures if one.there and (before is None or one.message_id < before)}
        return [self.message(channel_id, message_id) for message_id in sorted(there, reverse=True)[:limit]]

    async def get_channel(self, channel_id: int) -> Any:
        self.requests += 1
        place = self._seen(channel_id)
        return channel_json(State(Clock()), discord_objects.thread(place.id, place.parent or 0, place.kind))

    async def get_thread_member(self, channel_id: int, user_id: int) -> Any:
        self.requests += 1
        if user_id not in self._seen(channel_id).members:
            raise _error(discord.NotFound, 10007)
        return {"id": channel_id, "user_id": user_id, "join_timestamp": "2026-01-01T00:00:00+00:00", "flags": 0}

    def _seen(self, channel_id: int) -> Place:
        if self.down:
            raise OSError("no network")
        place = self.places.get(channel_id)
        if place is None:
            raise _error(discord.NotFound, 10003)
        if not self.follows(BOT, place) or channel_id in self.refusing:
            raise _error(discord.Forbidden, 50001)
        return place


def _error(kind: type[discord.HTTPException], code: int) -> discord.HTTPException:
    status = 403 if kind is discord.Forbidden else 404
    return kind(cast(Any, SimpleNamespace(status=status, reason="")), {"code": code, "message": ""})
