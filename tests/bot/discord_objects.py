"""discord.py objects made from the sandbox's payloads, without a network."""

from __future__ import annotations

from typing import Any, cast

import discord

from bot.discord_io.client import intents
from sandbox.message_payloads import MessagePayloads, Viewer
from sandbox.payloads import bare_member_json, channel_json, guild_json, user_json
from sandbox.signed_urls import Signer
from sandbox.state import (
    Attachment,
    Channel,
    ChannelType,
    Clock,
    Guild,
    Member,
    Message,
    Overwrite,
    Role,
    State,
    ThreadMetadata,
    User,
)

GUILD = 1_000
EVERYONE = GUILD  # Discord gives @everyone the id of its guild
OWNER = 1
BOT = 9
BOT_ROLE = 2_999
ADMINISTRATOR = 1 << 3
TEXT, VOICE, STAGE, FORUM = ChannelType.TEXT, ChannelType.VOICE, ChannelType.STAGE, ChannelType.FORUM
PUBLIC_THREAD, PRIVATE_THREAD = ChannelType.PUBLIC_THREAD, ChannelType.PRIVATE_THREAD
SIGNER = Signer(Clock())
SIGNER.base_url = "https://cdn.discordapp.com"


def role(role_id: int, permissions: int = 0) -> Role:
    return Role(role_id, "r", permissions, position=1)


def overwrite(target: int, *, member: bool = False, allow: int = 0, deny: int = 0) -> Overwrite:
    return Overwrite(target, int(member), allow, deny)


def channel(
    channel_id: int, kind: int = TEXT, overwrites: list[Overwrite] | None = None, *, nsfw: bool = False
) -> Channel:
    return Channel(channel_id, kind, "c", GUILD, nsfw=nsfw, overwrites={o.target_id: o for o in overwrites or []})


def thread(thread_id: int, parent_id: int, kind: int = PUBLIC_THREAD) -> Channel:
    return Channel(thread_id, kind, "t", GUILD, parent_id=parent_id, thread=ThreadMetadata(OWNER, created_at=0.0))


def guild(
    channels: list[Channel],
    *,
    everyone: int = 0,
    roles: list[Role] | None = None,
    threads: list[Channel] | None = None,
    client: discord.Client | None = None,
    bot_roles: list[int] | None = None,
) -> discord.Guild:
    """A guild whose only cached member is the bot, an administrator unless `bot_roles` says otherwise."""
    state = State(Clock())
    roles = [Role(EVERYONE, "@everyone", everyone), role(BOT_ROLE, ADMINISTRATOR), *(roles or [])]
    bot = {**bare_member_json(Member(BOT, [BOT_ROLE] if bot_roles is None else bot_roles)), "user": user(BOT, bot=True)}
    made = Guild(GUILD, "g", OWNER, 0.0, roles={r.id: r for r in roles})
    data: Any = {
        **guild_json(state, made),
        "channels": [channel_json(state, c) for c in channels],
        "threads": [channel_json(state, t) for t in threads or []],
        "members": [bot],
        "member_count": 1,
    }
    connection = (client or discord.Client(intents=intents()))._connection
    connection.user = discord.ClientUser(state=connection, data=cast(Any, user(BOT, bot=True)))
    return discord.Guild(data=data, state=connection)


def member(
    server: discord.Guild, user_id: int, roles: list[int] | None = None, timeout_until: float | None = None
) -> discord.Member:
    payload = bare_member_json(Member(user_id, roles or [], timeout_until=timeout_until))
    data: Any = {**payload, "user": user(user_id)}
    return discord.Member(data=data, guild=server, state=server._state)


def user(user_id: int, *, bot: bool = False) -> dict[str, Any]:
    return user_json(User(user_id, f"u{user_id}", f"u{user_id}", token="", bot=bot))


def message_data(channel_id: int, message_id: int, author: int = 50, *, bot: bool = False, **more: Any) -> Any:
    """`more`: fields that replace those of an empty message."""
    state = State(Clock())
    state.users[author] = User(author, f"u{author}", f"u{author}", token="", bot=bot)
    message = Message(message_id, channel_id, author)
    return {**MessagePayloads(state, SIGNER).message(message, Viewer(0)), **more}


def message(
    server: discord.Guild, channel_id: int, message_id: int, author: int = 50, *, bot: bool = False, **more: Any
) -> discord.Message:
    where: Any = server.get_channel_or_thread(channel_id)
    data = message_data(channel_id, message_id, author, bot=bot, **more)
    return discord.Message(state=server._state, channel=where, data=data)


def attachment(attachment_id: int, filename: str = "cat.png", **more: Any) -> dict[str, Any]:
    made = Attachment(attachment_id, 1, filename, None, b"0123456789")
    return {**MessagePayloads(State(Clock()), SIGNER).attachment(made), **more}


def snapshot(**more: Any) -> dict[str, Any]:
    """An entry of message_snapshots. `more`: fields that replace those of an empty message."""
    data = message_data(1, 7, **more)
    return {"message": {name: value for name, value in data.items() if name not in ("id", "author", "channel_id")}}
