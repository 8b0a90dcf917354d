"""discord.py's options, autocompletion, groups and translations against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from sandbox.guild_ops import add_channel
from sandbox.server import Sandbox
from sandbox.state import ChannelType
from tests.sandbox.discord_bot import INTENTS, running
from tests.sandbox.person import TIMEOUT_S, Person

Connect = Callable[[str], Awaitable[Person]]
Place = discord.TextChannel | discord.VoiceChannel | discord.ForumChannel | discord.Thread
CHINESE = {"album": "相册", "An album": "一本相册", "show": "显示", "page": "页", "kind": "种类", "small": "小"}


class Translator(app_commands.Translator):
    async def translate(
        self, string: app_commands.locale_str, locale: discord.Locale, context: app_commands.TranslationContextTypes
    ) -> str | None:
        return CHINESE.get(string.message) if locale is discord.Locale.chinese else None


class Album(app_commands.Group):
    """`/album show`, and `/album inner deep`: a group in a group."""

    def __init__(self, received: asyncio.Queue[Any]) -> None:
        super().__init__(name="album", description="An album", default_permissions=discord.Permissions(8192))
        self.received = received
        inner = app_commands.Group(name="inner", description="Within", parent=self)

        @inner.command(name="deep", description="Deep within")
        async def deep(interaction: discord.Interaction) -> None:
            await self.answer(interaction, "deep")

    async def answer(self, interaction: discord.Interaction, *values: Any) -> None:
        await interaction.response.send_message("seen", ephemeral=True)
        await self.received.put(values)

    @app_commands.command(name="show", description="Shows a page")
    async def show(
        self,
        interaction: discord.Interaction,
        page: app_commands.Range[int, 1, 99],
        kind: Literal["small", "large"] = "small",
        scale: app_commands.Range[float, 0.5, 2.0] = 1.0,
        caption: app_commands.Range[str, 2, 10] = "none",
    ) -> None:
        await self.answer(interaction, page, kind, scale, caption)

    @show.autocomplete("page")
    async def pages(self, interaction: discord.Interaction, current: str) -> list[app_commands.Choice[int]]:
        await self.received.put((current, interaction.namespace.kind))
        return [app_commands.Choice(name=f"page {n}", value=n) for n in (1, 12)]

    @show.autocomplete("scale")
    async def scales(self, interaction: discord.Interaction, current: float) -> list[app_commands.Choice[float]]:
        return [app_commands.Choice(name="half", value=0.5)]


class Chooser(commands.Bot):
    def __init__(self) -> None:
        super().__init__(commands.when_mentioned, intents=INTENTS, help_command=None, max_messages=None)
        self.received: asyncio.Queue[Any] = asyncio.Queue()

    async def setup_hook(self) -> None:
        self.album = Album(self.received)
        self.tree.add_command(self.album)

        @self.tree.command(name="point", description="Points at things")
        async def point(
            interaction: discord.Interaction,
            who: discord.Member,
            role: discord.Role,
            anybody: discord.Member | discord.Role,
            place: Place,
        ) -> None:
            # As the library makes it of the option.
            await self.album.answer(interaction, who, role, anybody, place)

        @self.tree.command(name="open", description="Opens a channel")
        async def open_channel(interaction: discord.Interaction, place: app_commands.AppCommandThread) -> None:
            await self.album.answer(interaction, place)

        await self.tree.set_translator(Translator())
        await self.tree.sync()


@pytest.fixture
async def bot(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chooser]:
    add_channel(sandbox.state, sandbox.guild("The Nest"), "collections", ChannelType.FORUM)
    chooser = Chooser()
    async with running(chooser, sandbox, monkeypatch):
        yield chooser


async def received(bot: Chooser) -> Any:
    return await asyncio.wait_for(bot.received.get(), TIMEOUT_S)


def subcommand(name: str, *options: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "name": name, "options": list(options)}


def option(kind: int, name: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, "value": value, **more}


async def refusal(sandbox: Sandbox, member: Person, name: str, *options: dict[str, Any]) -> Any:
    chat = sandbox.channel("chat")
    command = await member.command(chat.guild_id, name)
    data = {"id": command["id"], "version": command["version"], "name": name, "type": 1, "options": list(options)}
    about = {"type": 2, "application_id": command["application_id"], "channel_id": str(chat.id), "session_id": "s"}
    return await member.call("POST", "/interactions", {**about, "nonce": "n", "data": data})


async def test_numbers_choices_and_texts_reach_a_subcommand_within_their_ranges(
    sandbox: Sandbox, bot: Chooser, person: Connect
) -> None:
    bob = await person("bob")
    chat = sandbox.channel("chat")
    page, scale = option(4, "page", 12), option(10, "scale", 0.75)
    await bob.slash(chat.guild_id, chat.id, "album", subcommand("show", page))
    assert await received(bot) == (12, "small", 1.0, "none")
    chosen = option(3, "kind", "large"), scale, option(3, "caption", "hello")
    await bob.slash(chat.guild_id, chat.id, "album", subcommand("show", page, *chosen))
    assert await received(bot) == (12, "large", 0.75, "hello")
    await bob.slash(chat.guild_id, chat.id, "album", subcommand("show", page, option(10, "scale", 2)))
    assert await received(bot) == (12, "small", 2.0, "none")
    inner = {"type": 2, "name": "inner", "options": [subcommand("deep")]}
    await bob.slash(chat.guild_id, chat.id, "album", inner)
    assert await received(bot) == ("deep",)
    await bob.event("MESSAGE_CREATE", lambda seen: seen["interaction_metadata"]["name"] == "album inner deep")
    for wrong in (
        [option(4, "page", 0)],
        [option(4, "page", 100)],
        [option(4, "page", 1.5)],
        [],
        [page, option(10, "scale", 0.4)],
        [page, option(10, "scale", 2.1)],
        [page, option(3, "kind", "middle")],
        [page, option(3, "caption", "x")],
        [page, option(3, "caption", "x" * 11)],
        [page, page],
    ):
        refused = await refusal(sandbox, bob, "album", subcommand("show", *wrong))
        assert (refused.status, refused.code) == (400, 50035), wrong


async def test_numbers_are_completed_by_numbers(sandbox: Sandbox, bot: Chooser, person: Connect) -> None:
    bob = await person("bob")
    chat = sandbox.channel("chat")
    command = await bob.command(chat.guild_id, "album")

    async def offered(*options: dict[str, Any]) -> Any:
        data = {"id": command["id"], "name": "album", "type": 1, "options": [subcommand("show", *options)]}
        nonce = await bob.interact(4, sandbox.application_id, chat.id, data)
        event = await bob.event("APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE", lambda d: d["nonce"] == nonce)
        return [(one["name"], one["value"]) for one in event["choices"]]

    kind = option(3, "kind", "large")
    assert await offered(kind, option(4, "page", "1", focused=True)) == [("page 1", 1), ("page 12", 12)]
    assert await received(bot) == ("1", "large")
    assert await offered(option(4, "page", "", focused=True)) == [("page 1", 1), ("page 12", 12)]
    assert await received(bot) == ("", None)
    assert await offered(option(4, "page", 1), option(10, "scale", "0.", focused=True)) == [("half", 0.5)]


async def test_members_roles_and_channels_are_resolved(sandbox: Sandbox, bot: Chooser, person: Connect) -> None:
    cem = await person("cem")
    chat, cats = sandbox.channel("chat"), sandbox.channel("cats only")
    nest = bot.get_guild(chat.guild_id)
    regular = discord.utils.get(nest.roles, name="Regular")
    forum = sandbox.channel("collections")
    made = await cem.ok("POST", f"/channels/{forum.id}/threads", {"name": "a post", "message": {"content": "x"}})
    post = sandbox.state.channels[int(made["id"])]
    for place in (chat, forum, cats, post, sandbox.channel("Hangout")):
        who = option(6, "who", str(sandbox.user("bob").id)), option(8, "role", str(regular.id))
        anybody = option(9, "anybody", str(sandbox.user("dora").id))
        await cem.slash(chat.guild_id, chat.id, "point", *who, anybody, option(7, "place", str(place.id)))
        member, role, somebody, channel = await received(bot)
        assert isinstance(member, discord.Member) and regular in member.roles and member.joined_at is not None
        assert member.resolved_permissions.manage_messages and not somebody.resolved_permissions.manage_messages
        assert (role, somebody.name) == (regular, "dora")
        assert (channel.id, channel.name, channel.type.value) == (place.id, place.name, place.type)
    thread = option(7, "place", str(cats.id))
    await cem.slash(chat.guild_id, chat.id, "open", thread)
    [opened] = await received(bot)
    assert (opened.parent_id, opened.archived, opened.owner_id) == (cats.parent_id, False, sandbox.user("cem").id)
    assert opened.permissions.view_channel and opened.resolve().id == cats.id
    # Neither a channel of another type, nor one that the user does not see.
    assert (await refusal(sandbox, cem, "open", option(7, "place", str(chat.id)))).code == 50035
    planning, dora = option(7, "place", str(sandbox.channel("party planning").id)), await person("dora")
    assert (await refusal(sandbox, dora, "open", planning)).code == 50035


async def test_names_and_descriptions_are_translated_at_every_depth(
    sandbox: Sandbox, bot: Chooser, person: Connect
) -> None:
    dora = await person("dora")
    album = await dora.command(sandbox.guild("The Nest").id, "album")
    assert album["name_localizations"] == {"zh-CN": "相册"}
    assert album["description_localizations"] == {"zh-CN": "一本相册"}
    show = next(one for one in album["options"] if one["name"] == "show")
    assert show["name_localizations"] == {"zh-CN": "显示"}
    page, kind, *_ = show["options"]
    assert page["name_localizations"] == {"zh-CN": "页"} and (page["min_value"], page["max_value"]) == (1, 99)
    assert kind["choices"][0]["name_localizations"] == {"zh-CN": "小"}


async def test_a_group_for_moderators_is_refused_for_others(sandbox: Sandbox, bot: Chooser, person: Connect) -> None:
    dora = await person("dora")
    album = await dora.command(sandbox.guild("The Nest").id, "album")
    assert album["default_member_permissions"] == "8192"
    refused = await refusal(sandbox, dora, "album", subcommand("show", option(4, "page", 1)))
    assert (refused.status, refused.code) == (403, 50013)
