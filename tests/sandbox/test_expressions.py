"""Stickers, custom emojis and animated images."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import discord
import pytest
from discord.ext import commands
from PIL import Image

from sandbox.guild_ops import add_emoji, add_sticker
from sandbox.image_headers import is_animated
from sandbox.server import Sandbox
from tests.sandbox.discord_bot import INTENTS, running
from tests.sandbox.images import png
from tests.sandbox.person import TIMEOUT_S, Person

Connect = Callable[[str], Awaitable[Person]]


def picture(kind: str, frames: int = 1, mode: str = "RGB") -> bytes:
    """Frames of different colours, written by Pillow."""
    made = [Image.new(mode, (6, 5), colour) for colour in ("black", "white", "red")[:frames]]
    out = io.BytesIO()
    made[0].save(out, kind, save_all=frames > 1, append_images=made[1:], duration=100)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_an_image_with_several_frames_is_animated(kind: str, frames: int, mode: str) -> None:
    mode = "RGB" if kind == "WEBP" and mode == "P" else mode
    assert is_animated(picture(kind, frames, mode)) is (frames > 1)


def test_what_is_cut_or_no_image_is_not_animated() -> None:
    for kind in ("GIF", "PNG", "WEBP"):
        data = picture(kind, 2)
        for end in range(len(data)):
            is_animated(data[:end])
    for data in (b"", b"GIF89a", b"\xff\xd8\xff", picture("JPEG"), b"RIFF\0\0\0\0WEBPVP8X"):
        assert is_animated(data) is False


async def test_an_animated_attachment_says_so(sandbox: Sandbox, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("pictures").id
    moving = await cem.share(channel, picture("GIF", 3), "SPOILER_moving.gif")
    still = await cem.share(channel, picture("GIF"), "still.gif")
    assert [m["attachments"][0]["flags"] for m in (moving, still)] == [1 << 5 | 1 << 3, 0]


class Listener(commands.Bot):
    def __init__(self) -> None:
        super().__init__(commands.when_mentioned, intents=INTENTS, help_command=None, max_messages=None)
        self.heard: asyncio.Queue[Any] = asyncio.Queue()

    async def on_message(self, message: discord.Message) -> None:
        await self.heard.put(message)

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        await self.heard.put(payload)


@pytest.fixture
async def bot(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    guild, ann = sandbox.guild("The Nest"), sandbox.user("ann")
    add_sticker(sandbox.state, guild, "still", png(9, 9), ann, tags="bird")
    add_sticker(sandbox.state, guild, "moving", picture("PNG", 2), ann)
    add_sticker(sandbox.state, guild, "gif", picture("GIF", 2), ann)
    add_sticker(sandbox.state, guild, "lottie", b'{"v":"5.5.2"}', ann)
    add_emoji(sandbox.state, guild, "magpie", png(8, 8), ann)
    add_emoji(sandbox.state, guild, "flap", picture("GIF", 2), ann)
    add_emoji(sandbox.state, sandbox.guild("Second Branch"), "foreign", png(7, 7), ann)
    add_sticker(sandbox.state, sandbox.guild("Second Branch"), "foreign", png(7, 7), ann)
    monkeypatch.setattr(discord.Asset, "BASE", sandbox.bot_settings["DISCORD_CDN"])
    listener = Listener()
    async with running(listener, sandbox, monkeypatch):
        yield listener


def sticker_id(sandbox: Sandbox, name: str) -> str:
    return str(next(s.id for s in sandbox.state.stickers.values() if s.name == name))


def emoji_id(sandbox: Sandbox, name: str) -> str:
    return str(next(e.id for e in sandbox.state.emojis.values() if e.name == name))


async def heard(bot: Listener) -> Any:
    return await asyncio.wait_for(bot.heard.get(), TIMEOUT_S)


async def test_a_sticker_reaches_a_bot_and_is_downloaded_from_the_sandbox(
    sandbox: Sandbox, bot: Listener, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    stickers = {"still": ("png", png(9, 9)), "moving": ("apng", picture("PNG", 2))}
    for name, (kind, data) in stickers.items():
        sent = await cem.say(channel, sticker_ids=[sticker_id(sandbox, name)])
        assert sent["sticker_items"][0]["name"] == name
        [item] = (await heard(bot)).stickers
        assert (item.name, item.format.name, await item.read()) == (name, kind, data)
        assert (await item.fetch()).guild_id == sandbox.channel("chat").guild_id
    await cem.say(channel, sticker_ids=[sticker_id(sandbox, "gif"), sticker_id(sandbox, "lottie")])
    moving, drawn = (await heard(bot)).stickers
    assert (moving.format.name, drawn.format.name) == ("gif", "lottie")
    # discord.py states Discord's media proxy for GIFs, whatever the CDN.
    assert moving.url == f"https://media.discordapp.net/stickers/{moving.id}.gif"
    for path, data, kind in (
        (f"/stickers/{moving.id}.gif", picture("GIF", 2), "image/gif"),
        (f"/stickers/{drawn.id}.json", b'{"v":"5.5.2"}', "application/json"),
    ):
        async with cem.http.get(sandbox.url + path) as response:
            assert (response.status, await response.read(), response.content_type) == (200, data, kind)
    async with cem.http.get(sandbox.url + "/stickers/1.png") as response:
        assert response.status == 404


async def test_the_media_proxy_shows_stickers_and_emojis_in_a_bots_answer(
    sandbox: Sandbox, bot: Listener, person: Connect
) -> None:
    cem, chat = await person("cem"), sandbox.channel("chat")
    shown = {f"/stickers/{sticker_id(sandbox, 'still')}.png": png(9, 9)}
    shown |= {f"/emojis/{emoji_id(sandbox, 'magpie')}.png": png(8, 8)}
    view = discord.ui.LayoutView()
    view.add_item(discord.ui.MediaGallery(*(discord.MediaGalleryItem(sandbox.url + path) for path in shown)))
    sent = await bot.get_channel(chat.id).send(view=view)
    message = await cem.ok("GET", f"/channels/{chat.id}/messages/{sent.id}")
    for item, data in zip(message["components"][0]["items"], shown.values(), strict=True):
        async with cem.http.get(item["media"]["proxy_url"]) as response:
            assert (response.status, await response.read()) == (200, data)


async def test_a_guild_lists_its_stickers_and_emojis(sandbox: Sandbox, bot: Listener) -> None:
    nest = bot.get_guild(sandbox.guild("The Nest").id)
    assert {s.name for s in nest.stickers} == {s.name for s in await nest.fetch_stickers()}
    assert {e.name: e.animated for e in nest.emojis} == {"magpie": False, "flap": True}
    assert {e.name for e in await nest.fetch_emojis()} == {"magpie", "flap"}
    assert await nest.emojis[0].read() in (png(8, 8), picture("GIF", 2))


async def test_stickers_of_other_guilds_and_more_than_three_are_refused(
    sandbox: Sandbox, bot: Listener, person: Connect
) -> None:
    cem = await person("cem")
    path = f"/channels/{sandbox.channel('chat').id}/messages"
    own = sticker_id(sandbox, "still")
    for ids, code in (([sticker_id(sandbox, "foreign")], 50081), (["1"], 50081), ([own] * 4, 50035), (["x"], 50035)):
        assert (await cem.call("POST", path, {"sticker_ids": ids})).code == code
    assert (await cem.call("POST", path, {"sticker_ids": []})).code == 50006


async def test_a_message_keeps_its_stickers_through_edits_and_forwards(
    sandbox: Sandbox, bot: Listener, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    sent = await cem.say(channel, "look", sticker_ids=[sticker_id(sandbox, "still")])
    edited = await cem.ok("PATCH", f"/channels/{channel}/messages/{sent['id']}", {"content": ""})
    assert (edited["content"], edited["sticker_items"]) == ("", sent["sticker_items"])
    reference = {"type": 1, "channel_id": str(channel), "message_id": sent["id"]}
    forwarded = await cem.say(channel, message_reference=reference)
    assert forwarded["message_snapshots"][0]["message"]["sticker_items"] == sent["sticker_items"]
    query = f"/guilds/{sandbox.guild('The Nest').id}/messages/search?has=sticker"
    assert [m["id"] for [m] in (await cem.ok("GET", query))["messages"]] == [sent["id"]]


async def test_custom_emojis_are_posted_reacted_with_and_downloaded(
    sandbox: Sandbox, bot: Listener, person: Connect
) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    still, moving = emoji_id(sandbox, "magpie"), emoji_id(sandbox, "flap")
    await cem.say(channel, f"<:magpie:{still}> <a:flap:{moving}>")
    message = await heard(bot)
    found = [discord.PartialEmoji.from_str(part) for part in message.content.split()]
    for emoji, data in zip(found, (png(8, 8), picture("GIF", 2)), strict=True):
        emoji._state = bot._connection
        assert await emoji.read() == data
    await message.add_reaction(found[0])
    reacted = await heard(bot)
    assert (reacted.emoji.name, reacted.emoji.id, reacted.emoji.animated) == ("magpie", int(still), False)
    fetched = await message.channel.fetch_message(message.id)
    assert [(str(r.emoji), r.count, r.me) for r in fetched.reactions] == [(f"<:magpie:{still}>", 1, True)]
    await message.remove_reaction(found[0], bot.user)
    assert (await message.channel.fetch_message(message.id)).reactions == []


async def test_an_emoji_that_is_unknown_here_is_refused(sandbox: Sandbox, bot: Listener, person: Connect) -> None:
    cem = await person("cem")
    channel = sandbox.channel("chat").id
    sent = await cem.say(channel, "look")
    foreign, own = emoji_id(sandbox, "foreign"), emoji_id(sandbox, "magpie")
    for emoji in (f"foreign:{foreign}", f"other:{own}", "magpie:1", "magpie:x", "magpie:", f"magpie:{'9' * 5000}"):
        path = f"/channels/{channel}/messages/{sent['id']}/reactions/{emoji.replace(':', '%3A')}/@me"
        assert (await cem.call("PUT", path)).code == 10014, emoji
