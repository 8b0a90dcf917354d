"""Guilds' stickers and emojis."""

from __future__ import annotations

from sandbox.payloads import emoji_json, sticker_json
from sandbox.responses import api_error
from sandbox.rest.request import Endpoint, Request
from sandbox.state import Payload


async def list_stickers(request: Request) -> list[Payload]:
    guild, _ = request.guild()
    return [sticker_json(s) for s in request.state.stickers.values() if s.guild_id == guild.id]


async def get_guild_sticker(request: Request) -> Payload:
    guild, _ = request.guild()
    found = request.state.stickers.get(request.id("sticker_id"))
    if found is None or found.guild_id != guild.id:
        raise api_error(10060)
    return sticker_json(found)


async def get_sticker(request: Request) -> Payload:
    found = request.state.stickers.get(request.id("sticker_id"))
    if found is None:
        raise api_error(10060)
    return sticker_json(found)


async def list_emojis(request: Request) -> list[Payload]:
    guild, _ = request.guild()
    return [emoji_json(e) for e in request.state.emojis.values() if e.guild_id == guild.id]


async def get_emoji(request: Request) -> Payload:
    guild, _ = request.guild()
    found = request.state.emojis.get(request.id("emoji_id"))
    if found is None or found.guild_id != guild.id:
        raise api_error(10014)
    return emoji_json(found)


ENDPOINTS = (
    Endpoint("GET", "/guilds/{guild_id}/stickers", list_stickers),
    Endpoint("GET", "/guilds/{guild_id}/stickers/{sticker_id}", get_guild_sticker),
    Endpoint("GET", "/stickers/{sticker_id}", get_sticker),
    Endpoint("GET", "/guilds/{guild_id}/emojis", list_emojis),
    Endpoint("GET", "/guilds/{guild_id}/emojis/{emoji_id}", get_emoji),
)
