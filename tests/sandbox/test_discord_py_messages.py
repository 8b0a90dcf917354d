"""discord.py's messages against the sandbox: charts in embeds, progress by edits, silent replies, threads, look-ups."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import discord
import pytest
from discord import ui
from discord.ext import commands

from sandbox.permissions import MANAGE_MESSAGES, MANAGE_THREADS
from sandbox.server import Sandbox
from tests.sandbox.discord_bot import INTENTS, running
from tests.sandbox.images import png
from tests.sandbox.person import TIMEOUT_S, Person

Connect = Callable[[str], Awaitable[Person]]


def file(size: int, name: str) -> discord.File:
    return discord.File(io.BytesIO(png(size, size)), name)


class Words(ui.LayoutView):
    def __init__(self, text: str) -> None:
        super().__init__(timeout=None)
        self.add_item(ui.TextDisplay(text))


class Writer(commands.Bot):
    def __init__(self) -> None:
        super().__init__(commands.when_mentioned, intents=INTENTS, help_command=None, max_messages=None)
        self.done: asyncio.Queue[Any] = asyncio.Queue()

    async def setup_hook(self) -> None:
        @self.tree.command(name="talk", description="Answers twice")
        async def talk(interaction: discord.Interaction) -> None:
            await interaction.response.send_message("first")
            further = await interaction.followup.send(view=Words("second"), ephemeral=True, wait=True)
            changed = await further.edit(view=Words("third"))
            await self.done.put((await interaction.original_response(), changed))

        @self.tree.context_menu(name="Look at it")
        async def look(interaction: discord.Interaction, message: discord.Message) -> None:
            await interaction.response.send_message("looked", ephemeral=True)
            await self.done.put(message)

        await self.tree.sync()


def grant(sandbox: Sandbox, *permissions: int) -> None:
    """To the bot's role, which the invitation gives neither."""
    role = next(r for r in sandbox.guild("The Nest").roles.values() if r.name == "Magpie")
    for permission in permissions:
        role.permissions |= permission


@pytest.fixture
async def bot(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writer]:
    writer = Writer()
    async with running(writer, sandbox, monkeypatch):
        yield writer


async def test_an_embed_shows_an_attached_chart_that_an_edit_replaces(
    sandbox: Sandbox, bot: Writer, person: Connect
) -> None:
    cem = await person("cem")
    there = bot.get_channel(sandbox.channel("chat").id)
    embed = discord.Embed(title="Growth").set_image(url="attachment://one.png")
    sent = await there.send(embed=embed, file=file(4, "one.png"))
    assert sent.embeds[0].image.width == 4 and sent.attachments == []
    edited = await sent.edit(embed=embed.set_image(url="attachment://two.png"), attachments=[file(6, "two.png")])
    async with cem.http.get(edited.embeds[0].image.url) as response:
        assert await response.read() == png(6, 6)
    async with cem.http.get(sent.embeds[0].image.url) as response:
        assert response.status == 404


async def test_progress_is_shown_by_edits_of_an_ordinary_message(
    sandbox: Sandbox, bot: Writer, person: Connect
) -> None:
    cem = await person("cem")
    there = bot.get_channel(sandbox.channel("chat").id)
    posted = await cem.say(there.id, "how far?")
    message = await there.fetch_message(int(posted["id"]))
    none = discord.AllowedMentions.none()
    reply = await message.reply(view=Words("0 %"), silent=True, mention_author=False, allowed_mentions=none)
    shown = await cem.event("MESSAGE_CREATE", lambda d: d["id"] == str(reply.id))
    assert shown["flags"] == 1 << 15 | 1 << 12 and shown["mentions"] == []
    assert shown["referenced_message"]["id"] == posted["id"]
    for percent in (10, 50, 100):
        await reply.edit(view=Words(f"{percent} %"))
    await cem.event("MESSAGE_UPDATE", lambda d: d["components"][0]["content"] == "100 %" and d["id"] == str(reply.id))
    fetched = await there.fetch_message(reply.id)
    assert fetched.flags.silent and fetched.components[0].content == "100 %"


async def test_a_further_answer_names_the_first_and_a_menus_answer_its_message(
    sandbox: Sandbox, bot: Writer, person: Connect
) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat")
    await cem.slash(chat.guild_id, chat.id, "talk")
    first, further = await asyncio.wait_for(bot.done.get(), TIMEOUT_S)
    assert further.interaction_metadata.original_response_message_id == first.id
    assert first.interaction_metadata.original_response_message_id is None
    assert further.components[0].content == "third"
    posted = await cem.say(chat.id, "this one")
    menu = await cem.command(chat.guild_id, "Look at it")
    data = {"id": menu["id"], "version": menu["version"], "name": menu["name"], "type": 3, "target_id": posted["id"]}
    await cem.interact(2, sandbox.application_id, chat.id, data)
    assert (await asyncio.wait_for(bot.done.get(), TIMEOUT_S)).content == "this one"
    looked = await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "looked")
    assert looked["interaction_metadata"]["target_message_id"] == posted["id"]


async def test_channels_users_and_threads_are_looked_up(sandbox: Sandbox, bot: Writer, person: Connect) -> None:
    ann = await person("ann")
    nest = bot.get_guild(sandbox.guild("The Nest").id)
    planning = sandbox.channel("party planning")
    assert (await bot.fetch_user(sandbox.user("dora").id)).global_name == "Dora 朵拉"
    with pytest.raises(discord.NotFound) as unknown:
        await bot.fetch_user(1)
    assert unknown.value.code == 10013
    assert (await bot.fetch_channel(planning.id)).parent_id == planning.parent_id
    assert {c.name for c in await nest.fetch_channels()} >= {"pictures", "moderators"}
    assert {t.name for t in await nest.active_threads()} == {"cats only", "party planning"}
    await ann.ok("PATCH", f"/channels/{planning.id}", {"archived": True})
    parent = nest.get_channel(planning.parent_id)
    found = [t.name async for t in parent.archived_threads(private=True, joined=True, limit=None)]
    assert found == ["party planning"]
    grant(sandbox, MANAGE_THREADS)
    started = await parent.create_thread(name="progress", type=discord.ChannelType.public_thread)
    await started.join()
    await started.send("here")
    assert (await started.fetch_member(bot.user.id)).id == bot.user.id
    await started.delete()
    await ann.event("THREAD_DELETE", lambda d: d["id"] == str(started.id))


async def test_reactions_are_cleared_and_taken_back(sandbox: Sandbox, bot: Writer, person: Connect) -> None:
    cem = await person("cem")
    there = bot.get_channel(sandbox.channel("chat").id)
    sent = await there.send("react")
    for emoji in ("👍", "🐦"):
        await sent.add_reaction(emoji)
    await cem.ok("PUT", f"/channels/{there.id}/messages/{sent.id}/reactions/%F0%9F%91%8D/@me")
    counts = {str(r.emoji): r.count for r in (await there.fetch_message(sent.id)).reactions}
    assert counts == {"👍": 2, "🐦": 1}
    with pytest.raises(discord.Forbidden):
        await sent.clear_reactions()
    grant(sandbox, MANAGE_MESSAGES)
    await sent.remove_reaction("👍", discord.Object(sandbox.user("cem").id))
    await sent.remove_reaction("🐦", bot.user)
    assert {str(r.emoji): r.count for r in (await there.fetch_message(sent.id)).reactions} == {"👍": 1}
    await sent.clear_reactions()
    assert (await there.fetch_message(sent.id)).reactions == []
