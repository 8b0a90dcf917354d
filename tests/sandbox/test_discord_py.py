"""discord.py against the sandbox, without Magpie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import discord
import discord.http
import pytest
from discord import app_commands
from discord.ext import commands

from sandbox.faults import Fault
from sandbox.server import Sandbox
from tests.sandbox.discord_bot import INTENTS, running
from tests.sandbox.images import png
from tests.sandbox.person import TIMEOUT_S, Person

Connect = Callable[[str], Awaitable[Person]]


class Probe(commands.Bot):
    """A small bot with a slash command, autocomplete, a layout and a context menu."""

    def __init__(self) -> None:
        super().__init__(commands.when_mentioned, intents=INTENTS, help_command=None, max_messages=None)
        self.heard: asyncio.Queue[discord.Message] = asyncio.Queue()
        self.interactions: asyncio.Queue[discord.Interaction] = asyncio.Queue()

    async def setup_hook(self) -> None:
        @self.tree.command(name="echo", description="Says it again")
        @app_commands.describe(text="What to say", picture="Something to look at")
        async def echo(interaction: discord.Interaction, text: str, picture: discord.Attachment | None = None) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            size = 0 if picture is None else len(await picture.read())
            await interaction.edit_original_response(content=f"{text} {size} {interaction.locale}")

        @echo.autocomplete("text")
        async def suggest(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
            return [app_commands.Choice(name=current + "!", value=current + "!")]

        @self.tree.command(name="gallery", description="Shows a layout")
        async def gallery(interaction: discord.Interaction) -> None:
            await interaction.response.send_message(view=Gallery(), file=discord.File(png_file(), "shown.png"))

        @self.tree.context_menu(name="Measure it")
        async def measure(interaction: discord.Interaction, message: discord.Message) -> None:
            names = [a.filename for a in message.attachments]
            await interaction.response.send_message(f"{names}", ephemeral=True)
            await interaction.followup.send("and more", ephemeral=True)

        await self.tree.sync()

    async def on_message(self, message: discord.Message) -> None:
        if message.author != self.user:
            await self.heard.put(message)


class Gallery(discord.ui.LayoutView):
    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.add_item(discord.ui.Container(discord.ui.TextDisplay("hello")))
        self.add_item(discord.ui.MediaGallery(discord.MediaGalleryItem("attachment://shown.png", description="a")))
        button: discord.ui.Button[Gallery] = discord.ui.Button(label="More", custom_id="more")
        button.callback = self.more  # type: ignore[method-assign]  # discord.py documents assigning it
        self.add_item(discord.ui.ActionRow(button))

    async def more(self, interaction: discord.Interaction) -> None:
        self.clear_items()
        self.add_item(discord.ui.TextDisplay("that was all"))
        await interaction.response.edit_message(view=self, attachments=[])


def png_file() -> object:
    import io

    return io.BytesIO(png(9, 7))


@pytest.fixture
async def bot(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Probe]:
    probe = Probe()
    async with running(probe, sandbox, monkeypatch):
        yield probe


async def test_a_bot_logs_in_and_receives_its_guilds(sandbox: Sandbox, bot: Probe) -> None:
    assert {g.name for g in bot.guilds} == {"The Nest", "Second Branch"}
    nest = discord.utils.get(bot.guilds, name="The Nest")
    assert {c.name for c in nest.text_channels} >= {"pictures", "moderators"}
    assert {t.name for t in nest.threads} == {"cats only", "party planning"}


async def test_a_bot_receives_an_image_and_downloads_it(sandbox: Sandbox, bot: Probe, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures")
    await cem.share(channel.id, png(12, 8), "ball.png", content="look")
    message = await asyncio.wait_for(bot.heard.get(), TIMEOUT_S)
    [picture] = message.attachments
    assert (message.content, message.author.name, picture.filename) == ("look", "cem", "ball.png")
    assert (picture.width, picture.height, picture.content_type) == (12, 8, "image/png")
    assert await picture.read() == png(12, 8) == await picture.read(use_cached=True)
    fetched = await message.channel.fetch_message(message.id)
    assert fetched.attachments[0].id == picture.id


async def test_a_slash_command_reaches_the_bot_and_its_response_reaches_the_user(
    sandbox: Sandbox, bot: Probe, person: Connect
) -> None:
    dora = await person("dora")
    channel = sandbox.channel("pictures")
    upload = await dora.upload(channel.id, png(3, 3), "a.png")
    options = [{"type": 3, "name": "text", "value": "hi"}, {"type": 11, "name": "picture", "value": "0"}]
    nonce = await dora.slash(channel.guild_id, channel.id, "echo", *options, attachments=[upload])
    await dora.event("INTERACTION_CREATE", lambda d: d["nonce"] == nonce)
    await dora.event("INTERACTION_SUCCESS", lambda d: d["nonce"] == nonce)
    waiting = await dora.event("MESSAGE_CREATE", lambda d: d["flags"] == 64 | 128)
    answer = await dora.event("MESSAGE_UPDATE", lambda d: d["id"] == waiting["id"])
    assert answer["content"] == f"hi {len(png(3, 3))} zh-CN"
    assert answer["flags"] == 64
    assert answer["edited_timestamp"] is None
    assert answer["interaction_metadata"]["user"]["username"] == "dora"


async def test_autocomplete_choices_reach_the_user(sandbox: Sandbox, bot: Probe, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures")
    command = await cem.command(channel.guild_id, "echo")
    options = [{"type": 3, "name": "text", "value": "ca", "focused": True}]
    data = {"id": command["id"], "version": command["version"], "name": "echo", "type": 1, "options": options}
    nonce = await cem.interact(4, sandbox.application_id, channel.id, data, guild_id=str(channel.guild_id))
    offered = await cem.event("APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE", lambda d: d["nonce"] == nonce)
    assert offered["choices"] == [{"name": "ca!", "value": "ca!"}]


async def test_a_message_command_contains_the_message_and_its_responses_are_ephemeral(
    sandbox: Sandbox, bot: Probe, person: Connect
) -> None:
    cem, bob = await person("cem"), await person("bob")
    channel = sandbox.channel("pictures")
    posted = await bob.share(channel.id, png(3, 3), "nest.png")
    command = await cem.command(channel.guild_id, "Measure it")
    data = {"id": command["id"], "version": command["version"], "name": "Measure it", "type": 3}
    await cem.interact(2, sandbox.application_id, channel.id, {**data, "target_id": posted["id"]})
    await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "['nest.png']" and d["type"] == 23)
    await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "and more" and d["flags"] == 64)
    await bob.say(channel.id, "last")
    await bob.event("MESSAGE_CREATE", lambda d: d["content"] == "last")
    assert bob.count("MESSAGE_CREATE", lambda d: d["author"]["username"] == "Magpie") == 0


async def test_a_layout_shows_its_file_and_a_button_changes_it(sandbox: Sandbox, bot: Probe, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures")
    await cem.slash(channel.guild_id, channel.id, "gallery")
    shown = await cem.event("MESSAGE_CREATE", lambda d: d["flags"] & 1 << 15)
    assert shown["attachments"] == []
    container, gallery, row = shown["components"]
    [item] = gallery["items"]
    async with cem.http.get(item["media"]["url"]) as response:
        assert await response.read() == png(9, 7)
    assert (item["media"]["width"], item["media"]["height"]) == (9, 7)
    press = {"component_type": 2, "custom_id": row["components"][0]["custom_id"]}
    await cem.interact(3, sandbox.application_id, channel.id, press, message_id=shown["id"], message_flags=1 << 15)
    changed = await cem.event("MESSAGE_UPDATE", lambda d: d["id"] == shown["id"])
    assert [c["content"] for c in changed["components"]] == ["that was all"]
    async with cem.http.get(item["media"]["url"]) as response:
        assert response.status == 404


async def test_a_bot_reads_history_in_pages_and_in_both_directions(
    sandbox: Sandbox, bot: Probe, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    ids = [int((await cem.say(channel.id, f"{n}"))["id"]) for n in range(130)]
    there = bot.get_channel(channel.id)
    assert [m.id async for m in there.history(limit=None)] == ids[::-1]
    assert [m.id async for m in there.history(limit=None, after=discord.Object(ids[9]))] == ids[10:]
    around = [m.id async for m in there.history(limit=11, around=discord.Object(ids[50]))]
    assert sorted(around) == ids[45:56]


async def test_a_bot_searches_a_guild_for_images(sandbox: Sandbox, bot: Probe, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures")
    posted = [(await cem.share(channel.id, png(3, 3)))["id"] for _ in range(3)]
    await cem.say(channel.id, "no image")
    sandbox.faults.add(Fault("not_indexed"))
    route = discord.http.Route("GET", "/guilds/{guild_id}/messages/search", guild_id=channel.guild_id)
    wanted = [("has", "image"), ("channel_id", str(channel.id)), ("channel_id", str(sandbox.channel("chat").id))]
    early = await bot.http.request(route, params=wanted)
    assert early["code"] == 110000
    answer = await bot.http.request(route, params=wanted)
    assert answer["total_results"] == 3
    there = bot.get_channel(channel.id)
    messages = [discord.Message(state=bot._connection, channel=there, data=hit) for [hit] in answer["messages"]]
    assert [str(m.id) for m in messages] == posted[::-1]
    assert [len(m.attachments) for m in messages] == [1, 1, 1]


async def test_a_bot_posts_reacts_edits_and_deletes(sandbox: Sandbox, bot: Probe, person: Connect) -> None:
    cem = await person("cem")
    there = bot.get_channel(sandbox.channel("chat").id)
    sent = await there.send(
        "one", file=discord.File(png_file(), "x.png"), allowed_mentions=discord.AllowedMentions.none()
    )
    await sent.add_reaction("👍")
    await sent.edit(content="two", attachments=[])
    edited = await cem.event("MESSAGE_UPDATE", lambda d: d["content"] == "two")
    assert edited["attachments"] == [] and edited["reactions"][0]["emoji"]["name"] == "👍"
    await sent.delete()
    await cem.event("MESSAGE_DELETE", lambda d: d["id"] == str(sent.id))
    with pytest.raises(discord.NotFound) as refused:
        await there.fetch_message(sent.id)
    assert refused.value.code == 10008


async def test_a_bot_fetches_threads_and_their_members(sandbox: Sandbox, bot: Probe, person: Connect) -> None:
    cem = await person("cem")
    nest = bot.get_guild(sandbox.guild("The Nest").id)
    thread = nest.get_thread(sandbox.channel("cats only").id)
    assert (await thread.fetch_member(int(cem.ready["user"]["id"]))).thread_id == thread.id
    with pytest.raises(discord.NotFound):
        await thread.fetch_member(nest.owner_id)
    await cem.ok("PATCH", f"/channels/{thread.id}", {"archived": True})
    archived = [t.id async for t in nest.get_channel(thread.parent_id).archived_threads(limit=None)]
    assert archived == [thread.id]
    assert (await nest.fetch_member(int(cem.ready["user"]["id"]))).name == "cem"


async def test_a_bot_resumes_after_a_broken_connection_without_losing_events(
    sandbox: Sandbox, bot: Probe, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat")
    resumed = asyncio.create_task(bot.wait_for("resumed", timeout=TIMEOUT_S))
    await asyncio.sleep(0)
    await sandbox.drop_gateway()
    await cem.say(channel.id, "while you were out")
    await resumed
    assert (await asyncio.wait_for(bot.heard.get(), TIMEOUT_S)).content == "while you were out"
