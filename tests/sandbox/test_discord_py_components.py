"""discord.py's modals, select menus, files and edits against the sandbox."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import discord
import pytest
from discord import ui
from discord.ext import commands

from sandbox.server import Sandbox
from tests.sandbox.discord_bot import INTENTS, running
from tests.sandbox.images import png
from tests.sandbox.person import TIMEOUT_S, Person

Connect = Callable[[str], Awaitable[Person]]


def file(size: int, name: str, **more: Any) -> discord.File:
    return discord.File(io.BytesIO(png(size, size)), name, **more)


class Questions(ui.Modal, title="Questions"):
    hello = ui.TextDisplay("Please answer")
    what = ui.Label(
        text="What", description="In words", component=ui.TextInput(style=discord.TextStyle.paragraph, max_length=20)
    )
    who = ui.Label(text="Who", component=ui.UserSelect(required=False, max_values=3))
    where = ui.Label(text="Where", component=ui.ChannelSelect(channel_types=[discord.ChannelType.text]))
    example = ui.Label(text="Example", component=ui.FileUpload(max_values=2, required=False, min_values=0))

    def __init__(self, answers: asyncio.Queue[Any]) -> None:
        super().__init__(custom_id="questions")
        self.answers = answers

    async def on_submit(self, interaction: discord.Interaction) -> None:
        files = [await one.read() for one in self.example.component.values]
        entered = (
            self.what.component.value,
            [str(one) for one in self.who.component.values],
            [one.name for one in self.where.component.values],
            files,
        )
        await interaction.response.send_message("noted", ephemeral=True, file=file(2, "receipt.png"))
        await self.answers.put(entered)


class Choices(ui.View):
    """One select menu of each kind, with default values where there can be any."""

    def __init__(self, guild: discord.Guild, chosen: asyncio.Queue[Any]) -> None:
        super().__init__(timeout=None)
        self.chosen = chosen
        options = [
            discord.SelectOption(label="A", value="a", default=True, emoji="🐦"),
            discord.SelectOption(label="B"),
        ]
        selects: tuple[ui.Select | ui.UserSelect | ui.RoleSelect | ui.MentionableSelect | ui.ChannelSelect, ...] = (
            ui.Select(options=options, custom_id="string", placeholder="Choose", min_values=0, max_values=2),
            ui.UserSelect(default_values=[discord.Object(guild.owner_id, type=discord.User)], custom_id="user"),
            ui.RoleSelect(default_values=[guild.default_role], custom_id="role"),
            ui.MentionableSelect(default_values=[guild.default_role], custom_id="mentionable"),
            ui.ChannelSelect(default_values=[guild.text_channels[0]], custom_id="channel", disabled=False),
        )
        for select in selects:
            select.callback = self.choose  # type: ignore[method-assign]
            self.add_item(select)

    async def choose(self, interaction: discord.Interaction) -> None:
        name = interaction.data["custom_id"]
        select = next(one for one in self.children if one.custom_id == name)
        await interaction.response.defer()
        await self.chosen.put((name, select.values))


class Chart(ui.LayoutView):
    def __init__(self, name: str, *, pressed: bool = False) -> None:
        super().__init__(timeout=None)
        button: ui.Button[Chart] = ui.Button(label="Redraw", custom_id="redraw", disabled=pressed)
        button.callback = self.redraw  # type: ignore[method-assign]
        self.add_item(
            ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{name}", description="bars", spoiler=True))
        )
        self.add_item(ui.File(f"attachment://{name}"))
        self.add_item(ui.ActionRow(button))

    async def redraw(self, interaction: discord.Interaction) -> None:
        changed = Chart("second.png", pressed=True)
        await interaction.response.edit_message(view=changed, attachments=[file(6, "second.png")])
        await interaction.edit_original_response(
            view=Chart("third.png", pressed=True), attachments=[file(7, "third.png", description="bars")]
        )


class Asker(commands.Bot):
    def __init__(self) -> None:
        super().__init__(commands.when_mentioned, intents=INTENTS, help_command=None, max_messages=None)
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def setup_hook(self) -> None:
        @self.tree.command(name="ask", description="Opens a modal")
        async def ask(interaction: discord.Interaction) -> None:
            await interaction.response.send_modal(Questions(self.answers))

        @self.tree.command(name="choose", description="Shows select menus")
        async def choose(interaction: discord.Interaction) -> None:
            await interaction.response.send_message("choose", view=Choices(interaction.guild, self.answers))

        @self.tree.command(name="chart", description="Shows a chart")
        async def chart(interaction: discord.Interaction, ephemeral: bool) -> None:
            await interaction.response.defer(ephemeral=ephemeral)
            await interaction.edit_original_response(view=Chart("first.png"), attachments=[file(5, "first.png")])

        @self.tree.command(name="papers", description="Sends, changes and deletes follow-ups")
        async def papers(interaction: discord.Interaction) -> None:
            await interaction.response.send_message("one", file=file(2, "one.png"), ephemeral=True)
            kept = await interaction.original_response()
            await kept.edit(content="both", attachments=[*kept.attachments, file(3, "two.png")])
            more = await interaction.followup.send("more", ephemeral=True, wait=True)
            await more.edit(content="changed", attachments=[file(4, "four.png")])
            await more.delete()
            await interaction.delete_original_response()
            await self.answers.put("done")

        await self.tree.sync()


@pytest.fixture
async def bot(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    asker = Asker()
    async with running(asker, sandbox, monkeypatch):
        yield asker


async def answer(bot: Asker) -> Any:
    return await asyncio.wait_for(bot.answers.get(), TIMEOUT_S)


async def test_a_modal_of_discord_py_is_filled_in(sandbox: Sandbox, bot: Asker, person: Connect) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat")
    nonce = await cem.slash(chat.guild_id, chat.id, "ask")
    shown = await cem.event("INTERACTION_MODAL_CREATE", lambda d: d["nonce"] == nonce)
    assert shown["title"] == "Questions"
    assert [c["type"] for c in shown["components"]] == [10, 18, 18, 18, 18]
    upload = await cem.upload(chat.id, png(8, 8), "example.png")
    entered = {
        "what": {"value": "a magpie"},
        "who": {"values": [str(sandbox.user("bob").id), str(sandbox.user("dora").id)]},
        "where": {"values": [str(chat.id)]},
        "example": {"values": ["0"]},
    }
    components = [
        {"type": 18, "component": {**label["component"], **one}}
        for label, one in zip(shown["components"][1:], entered.values(), strict=True)
    ]
    data = {"id": shown["id"], "custom_id": "questions", "components": components, "attachments": [upload]}
    await cem.interact(5, sandbox.application_id, chat.id, data)
    assert await answer(bot) == ("a magpie", ["bob", "dora"], ["chat"], [png(8, 8)])
    noted = await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "noted")
    assert noted["flags"] == 64 and noted["attachments"][0]["ephemeral"] is True
    async with cem.http.get(noted["attachments"][0]["url"]) as response:
        assert await response.read() == png(2, 2)


async def test_select_menus_of_every_kind_have_defaults_and_give_objects(
    sandbox: Sandbox, bot: Asker, person: Connect
) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat")
    nest = bot.get_guild(chat.guild_id)
    await cem.slash(chat.guild_id, chat.id, "choose")
    shown = await cem.event("MESSAGE_CREATE", lambda d: d["content"] == "choose")
    selects = {row["components"][0]["custom_id"]: row["components"][0] for row in shown["components"]}
    assert selects["user"]["default_values"] == [{"id": str(nest.owner_id), "type": "user"}]
    dora, role = str(sandbox.user("dora").id), str(nest.roles[1].id)
    for name, values, objects in (
        ("string", ["a", "B"], ["a", "B"]),
        ("string", [], []),
        ("user", [dora], ["dora"]),
        ("role", [role], [nest.roles[1].name]),
        ("mentionable", [dora], ["dora"]),
        ("mentionable", [role], [nest.roles[1].name]),
        ("channel", [str(chat.id)], ["chat"]),
    ):
        chosen = {"component_type": selects[name]["type"], "custom_id": name, "values": values}
        await cem.interact(3, sandbox.application_id, chat.id, chosen, message_id=shown["id"])
        received, found = await answer(bot)
        assert (received, [getattr(one, "name", one) for one in found]) == (name, objects)


@pytest.mark.parametrize("ephemeral", [True, False])
async def test_a_chart_is_replaced_by_an_edit_with_a_new_file(
    sandbox: Sandbox, bot: Asker, person: Connect, ephemeral: bool
) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat")
    await cem.slash(chat.guild_id, chat.id, "chart", {"type": 5, "name": "ephemeral", "value": ephemeral})
    first = await cem.event("MESSAGE_UPDATE", lambda d: d["components"])
    gallery, listed, row = first["components"]
    assert first["attachments"] == [] and bool(first["flags"] & 64) is ephemeral
    assert gallery["items"][0]["spoiler"] and (listed["name"], listed["size"]) == ("first.png", len(png(5, 5)))
    press = {"component_type": 2, "custom_id": row["components"][0]["custom_id"]}
    await cem.interact(3, sandbox.application_id, chat.id, press, message_id=first["id"], message_flags=1 << 15)
    third = await cem.event("MESSAGE_UPDATE", lambda d: d["components"] and d["components"][1]["name"] == "third.png")
    assert third["id"] == first["id"] and third["components"][2]["components"][0]["disabled"] is True
    async with cem.http.get(third["components"][0]["items"][0]["media"]["url"]) as response:
        assert await response.read() == png(7, 7)
    async with cem.http.get(gallery["items"][0]["media"]["url"]) as response:
        assert response.status == 404
    body = {"type": 3, "application_id": str(sandbox.application_id), "channel_id": str(chat.id), "session_id": "s"}
    again = {**body, "nonce": "n", "message_id": first["id"], "data": press}
    assert (await cem.call("POST", "/interactions", again)).code == 50035


async def test_ephemeral_messages_with_files_are_extended_changed_and_deleted(
    sandbox: Sandbox, bot: Asker, person: Connect
) -> None:
    cem = await person("cem")
    chat = sandbox.channel("chat")
    await cem.slash(chat.guild_id, chat.id, "papers")
    assert await answer(bot) == "done"
    both = await cem.event("MESSAGE_UPDATE", lambda d: d["content"] == "both")
    assert [a["filename"] for a in both["attachments"]] == ["one.png", "two.png"]
    assert all(a["ephemeral"] for a in both["attachments"])
    changed = await cem.event("MESSAGE_UPDATE", lambda d: d["content"] == "changed")
    assert [a["filename"] for a in changed["attachments"]] == ["four.png"]
    for gone in (both, changed):
        await cem.event("MESSAGE_DELETE", lambda d, gone=gone: d["id"] == gone["id"])
        async with cem.http.get(gone["attachments"][0]["url"]) as response:
            assert response.status == 404
