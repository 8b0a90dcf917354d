"""Runs a discord.py bot against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import discord
import discord.gateway
import discord.http
import pytest
import yarl
from discord.ext import commands

from sandbox.server import Sandbox
from tests.sandbox.person import TIMEOUT_S

INTENTS = discord.Intents(guilds=True, guild_messages=True, message_content=True, guild_reactions=True, emojis=True)


@asynccontextmanager
async def running(bot: commands.Bot, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Until the block ends, which begins when the bot is ready."""
    monkeypatch.setattr(discord.http.Route, "BASE", sandbox.url + "/api/v10")
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(sandbox.gateway_url))
    bot._connection.guild_ready_timeout = 0.1
    async with bot:
        started = asyncio.create_task(bot.start(sandbox.bot_token))
        ready = asyncio.create_task(bot.wait_until_ready())
        done, _ = await asyncio.wait([started, ready], timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        assert ready in done, started
        yield
        await bot.close()
        await started
