"""Forums: their threads begin with a message, and hold no messages themselves."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable

import discord
import pytest
from discord.ext import commands

from sandbox.guild_ops import add_channel
from sandbox.permissions import SEND_MESSAGES
from sandbox.server import Sandbox
from sandbox.state import Channel, ChannelType, Overwrite
from tests.sandbox.discord_bot import INTENTS, running
from tests.sandbox.images import png
from tests.sandbox.person import Person

Connect = Callable[[str], Awaitable[Person]]


@pytest.fixture
def forum(sandbox: Sandbox) -> Channel:
    return add_channel(sandbox.state, sandbox.guild("The Nest"), "collections", ChannelType.FORUM, topic="One each")


async def test_a_person_posts_in_a_forum(sandbox: Sandbox, forum: Channel, person: Connect) -> None:
    cem, dora = await person("cem"), await person("dora")
    upload = await cem.upload(forum.id, png(4, 4), "shell.png")
    post = {"name": "Shells", "message": {"content": "three of them", "attachments": [upload]}}
    made = await cem.ok("POST", f"/channels/{forum.id}/threads", post)
    assert (made["type"], made["parent_id"], made["name"]) == (11, str(forum.id), "Shells")
    first = made["message"]
    assert (first["id"], first["channel_id"], first["content"]) == (made["id"], made["id"], "three of them")
    await dora.event("THREAD_CREATE", lambda d: d["id"] == made["id"] and d["newly_created"])
    await dora.event("MESSAGE_CREATE", lambda d: d["id"] == made["id"])
    await dora.say(made["id"], "nice")
    listed = await cem.ok("GET", f"/channels/{made['id']}/messages")
    assert [m["content"] for m in listed] == ["nice", "three of them"]
    await cem.ok("PATCH", f"/channels/{made['id']}", {"archived": True})
    archived = await cem.ok("GET", f"/channels/{forum.id}/threads/archived/public")
    assert [t["id"] for t in archived["threads"]] == [made["id"]]


async def test_a_forum_refuses_messages_and_posts_without_a_message(
    sandbox: Sandbox, forum: Channel, person: Connect
) -> None:
    cem = await person("cem")
    path = f"/channels/{forum.id}"
    assert (await cem.call("POST", path + "/messages", {"content": "x"})).code == 50008
    for body in ({"name": "a"}, {"message": {"content": "x"}}, {"name": "a", "message": 5}):
        assert (await cem.call("POST", path + "/threads", body)).code == 50035
    assert (await cem.call("POST", path + "/threads", {"name": "a", "message": {}})).code == 50006
    forum.overwrites[forum.guild_id] = Overwrite(forum.guild_id, 0, deny=SEND_MESSAGES)
    body = {"name": "a", "message": {"content": "x"}}
    assert (await cem.call("POST", path + "/threads", body)).code == 50013
    assert await cem.ok("GET", path + "/messages") == []


async def test_a_bot_of_discord_py_posts_in_a_forum_and_reads_it(
    sandbox: Sandbox, forum: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = commands.Bot(commands.when_mentioned, intents=INTENTS, help_command=None)
    async with running(bot, sandbox, monkeypatch):
        there = bot.get_channel(forum.id)
        assert isinstance(there, discord.ForumChannel) and there.topic == "One each"
        picture = discord.File(io.BytesIO(png(3, 3)), "a.png")
        made = await there.create_thread(name="From a bot", content="look", file=picture)
        assert made.message.id == made.thread.id and made.message.attachments[0].filename == "a.png"
        assert [m.id async for m in made.thread.history()] == [made.message.id]
        assert made.thread.parent is there
        await made.thread.edit(archived=True)
        assert [t.id async for t in there.archived_threads()] == [made.thread.id]
