"""The options that limit /find, and /browse: through the real bot, in two languages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.discord_io.client import MagpieBot
from bot.i18n import CHINESE, ENGLISH
from bot.models import utc_now
from tests.e2e.harness import House, sample, until
from tests.e2e.member import Member


async def test_pictures_are_found_by_who_posted_them_when_and_how_they_are_tagged(home: House, bot: MagpieBot) -> None:
    ann, cem, images = await home.member("ann"), await home.member("cem"), home.channel("pictures")
    hers, his = await ann.post(images, sample("panda")), await cem.post(images, sample("panda"))
    apple = await cem.post(images, sample("red-apple"))
    *_, remembered = await home.indexed(hers, his, apple)
    # The same file twice counts once, so who posted it decides which post is shown.
    for author, posted in ((ann, hers), (cem, his)):
        found = await ann.find(home.nest, images, "a panda", author=author.id)
        assert found.ids == [posted["id"]]
        assert f"<@{author.id}>" in found.words

    assert (await cem.find(home.nest, images, "a panda", tag="panda")).ids
    assert (await cem.find(home.nest, images, "a panda", tag=remembered.tags[0].label)).ids == []
    assert (await cem.browse(home.nest, images, tag=remembered.tags[0].label.upper())).ids == [apple["id"]]
    assert (await cem.browse(home.nest, images, author=cem.id)).ids == [apple["id"], his["id"]]
    assert (await cem.browse(home.nest, images, author=cem.id, sort="oldest")).ids == [his["id"], apple["id"]]

    yesterday = (utc_now() - timedelta(days=1)).date().isoformat()
    for since, before in (("a day ago", yesterday), ("3 weeks ago", "三周前"), ("昨天", "1 January 2020")):
        assert (await cem.browse(home.nest, images, after=since, author=cem.id)).ids == [apple["id"], his["id"]]
        assert (await cem.browse(home.nest, images, before=before, author=cem.id)).ids == []
    assert (await cem.find(home.nest, images, "an apple", after="tomorrow")).ids == []


@pytest.mark.parametrize(("username", "texts"), [("cem", ENGLISH), ("dora", CHINESE)])
async def test_a_date_that_cannot_be_read_is_refused_in_a_sentence(
    home: House, bot: MagpieBot, username: str, texts: Any
) -> None:
    member, images = await home.member(username), home.channel("pictures")
    refused = await member.find(home.nest, images, "a panda", after="the **third** age")
    assert refused.words == texts.search.unreadable_date.format(typed=r"the \*\*third\*\* age")
    assert refused.private


async def test_dates_are_offered_and_said_back_as_they_were_understood(home: House, bot: MagpieBot) -> None:
    cem, dora, images = await home.member("cem"), await home.member("dora"), home.channel("pictures")
    today = utc_now().date()
    offered = await cem.offered(home.nest, images, "find", after="")
    assert offered == [(today - timedelta(days=days)).isoformat() for days in (0, 7, 30, 91, 365)]
    for member, typed in ((cem, "3 weeks ago"), (dora, "三周前")):
        # The first look at a date loads what reads dates; Discord gives suggestions three seconds.
        choice = await understood(home, member, typed)
        assert choice["value"] == (today - timedelta(weeks=3)).isoformat()
        assert choice["name"].startswith(f"{typed} → ")
    assert "年" in choice["name"]


async def understood(home: House, member: Member, typed: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def offered() -> bool:
        found[:] = await member.choices(home.nest, home.channel("pictures"), "browse", before=typed)
        return bool(found)

    await until(offered, "the date is understood")
    return found[0]


async def test_tags_are_offered_of_pictures_that_the_member_may_see_and_of_no_others(
    home: House, bot: MagpieBot
) -> None:
    cem, dora = await home.member("cem"), await home.member("dora")
    regulars, images = home.channel("regulars"), home.channel("pictures")
    hidden, open_to_all = await cem.post(regulars, sample("octopus")), await cem.post(images, sample("panda"))
    await home.indexed(hidden, open_to_all)
    for_cem = await cem.offered(home.nest, images, "find", tag="")
    assert {"octopus", "panda"} <= set(for_cem)
    for_dora = await dora.choices(home.nest, images, "find", tag="")
    assert "octopus" not in {choice["value"] for choice in for_dora}
    assert "熊猫 · 1" in {choice["name"] for choice in for_dora}
    assert await dora.offered(home.nest, images, "find", tag="oct") == []
    assert await dora.offered(home.nest, images, "browse", tag="熊") == ["panda"]
    assert (await dora.browse(home.nest, images, tag="熊猫")).ids == [open_to_all["id"]]
    assert (await dora.browse(home.nest, images, tag="octopus")).ids == []
    await cem.remove(hidden)
    await home.forgotten(hidden)
    assert "octopus" not in await cem.offered(home.nest, images, "find", tag="")


async def test_a_category_stands_for_the_channels_and_threads_in_it(home: House, bot: MagpieBot) -> None:
    cem, chat = await home.member("cem"), home.channel("chat")
    in_lobby = [await cem.post(home.channel(name), sample(what)) for name, what in LOBBY.items()]
    outside = await cem.post(home.channel("regulars"), sample("panda"))
    await home.indexed(outside, *in_lobby)
    lobby, back = home.channel("Lobby"), home.channel("Back rooms")
    assert set((await cem.browse(home.nest, chat, channel=str(lobby))).ids) == {one["id"] for one in in_lobby}
    assert (await cem.find(home.nest, chat, "a panda", only=back)).ids == [outside["id"]]
    empty = await (await home.member("dora")).browse(home.nest, chat, channel=str(back))
    assert empty.words == CHINESE.search.channel_empty


LOBBY = {"pictures": "red-apple", "chat": "rocket", "cats only": "octopus"}
