"""Servers made of real discord.py objects, without a network: what the gateway would have filled the cache with."""

from __future__ import annotations

from typing import Any

import discord

from bot.discord_io.client import intents

GUILD = 1_000
EVERYONE = GUILD  # Discord gives @everyone the id of its server
OWNER = 1
TEXT, VOICE, STAGE, FORUM = 0, 2, 13, 15
PUBLIC_THREAD, PRIVATE_THREAD = 11, 12


def role(role_id: int, permissions: int = 0) -> dict[str, Any]:
    return {"id": str(role_id), "name": "r", "permissions": str(permissions), "position": 1, "color": 0, "hoist": False,
            "managed": False, "mentionable": False, "flags": 0, "colors": {"primary_color": 0}}  # fmt: skip


def overwrite(target: int, *, member: bool = False, allow: int = 0, deny: int = 0) -> dict[str, Any]:
    return {"id": str(target), "type": int(member), "allow": str(allow), "deny": str(deny)}


def channel(
    channel_id: int, kind: int = TEXT, overwrites: list[dict[str, Any]] | None = None, *, nsfw: bool = False
) -> dict[str, Any]:
    return {"id": str(channel_id), "type": kind, "name": "c", "position": 0, "nsfw": nsfw, "bitrate": 64000,
            "user_limit": 0, "permission_overwrites": overwrites or []}  # fmt: skip


def thread(thread_id: int, parent_id: int, kind: int = PUBLIC_THREAD) -> dict[str, Any]:
    return {"id": str(thread_id), "type": kind, "parent_id": str(parent_id), "owner_id": "1", "name": "t",
            "guild_id": str(GUILD), "message_count": 0, "member_count": 0,
            "thread_metadata": {"archived": False, "auto_archive_duration": 60, "locked": False,
                                "archive_timestamp": "2026-01-01T00:00:00+00:00"}}  # fmt: skip


def guild(
    channels: list[dict[str, Any]],
    *,
    everyone: int = 0,
    roles: list[dict[str, Any]] | None = None,
    threads: list[dict[str, Any]] | None = None,
    client: discord.Client | None = None,
) -> discord.Guild:
    state = (client or discord.Client(intents=intents()))._connection
    all_roles = [role(EVERYONE, everyone), *(roles or [])]
    data: Any = {"id": str(GUILD), "name": "g", "owner_id": str(OWNER), "roles": all_roles,
                 "channels": channels, "threads": threads or [], "members": [], "member_count": 1, "emojis": [],
                 "features": [], "unavailable": False}  # fmt: skip
    return discord.Guild(data=data, state=state)


def member(
    server: discord.Guild, user_id: int, roles: list[int] | None = None, timed_out_until: str | None = None
) -> discord.Member:
    data: Any = {"user": user(user_id), "roles": [str(one) for one in roles or []], "flags": 0,
                 "joined_at": None, "communication_disabled_until": timed_out_until}  # fmt: skip
    return discord.Member(data=data, guild=server, state=server._state)


def user(user_id: int, *, bot: bool = False) -> dict[str, Any]:
    return {"id": str(user_id), "username": f"u{user_id}", "discriminator": "0", "avatar": None, "bot": bot}


def message(
    server: discord.Guild, channel_id: int, message_id: int, author: int = 50, *, bot: bool = False, **more: Any
) -> discord.Message:
    data: Any = {"id": str(message_id), "type": 0, "content": "", "channel_id": str(channel_id),
                 "author": user(author, bot=bot), "attachments": [], "embeds": [], "mentions": [], "mention_roles": [],
                 "mention_everyone": False,
                 "pinned": False, "tts": False, "timestamp": "2026-01-01T00:00:00+00:00", "edited_timestamp": None,
                 "flags": 0, "components": [], **more}  # fmt: skip
    where: Any = server.get_channel_or_thread(channel_id)
    return discord.Message(state=server._state, channel=where, data=data)


def attachment(attachment_id: int, filename: str = "cat.png", **more: Any) -> dict[str, Any]:
    url = f"https://cdn.discordapp.com/attachments/1/{attachment_id}/{filename}?ex=1&is=1&hm=1"
    return {"id": str(attachment_id), "filename": filename, "size": 10, "url": url, "proxy_url": url, **more}
