"""The larger world of a trial: weeks of posts, in the past, most of which come when the bot has connected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from sandbox.demo_world import BOT_JOINED_DAYS, DAY_S, FOUNDED_DAYS, WORLD, read_posts
from sandbox.server import Sandbox
from sandbox.state import ChannelType, Clock, State, snowflake_time
from tests.sandbox.person import TIMEOUT_S, Person


@pytest.fixture
async def world() -> AsyncIterator[Sandbox]:
    async with Sandbox.serve(larger_world=True) as running:
        yield running


def connection(world: Sandbox) -> Person:
    return Person(world.url, world.bot_token, bot=True, intents=1 | 1 << 9 | 1 << 15)


async def filled(world: Sandbox) -> None:
    await asyncio.wait_for(world.world_filled.wait(), TIMEOUT_S)


def test_what_is_created_at_another_time_has_an_id_of_that_time() -> None:
    state = State(Clock())
    present = state.ids.next()
    then = state.clock.now() - 10 * DAY_S
    with state.at(then):
        first, second = state.ids.next(), state.ids.next()
        assert state.clock.now() == pytest.approx(then, abs=5)
    assert first < second < present < state.ids.next()
    assert snowflake_time(first).timestamp() == pytest.approx(then, abs=5)
    assert state.clock.now() > then + 9 * DAY_S


def test_every_file_of_the_world_is_posted_and_they_stay_small() -> None:
    posts = read_posts()
    files = {path.name for path in WORLD.iterdir() if path.suffix in (".png", ".jpg", ".webp", ".gif", ".mp4")}
    used = {file.name for post in posts for file in post.files}
    assert used == {name for name in files if not name.startswith(("sticker-", "emoji-"))}
    assert sum(path.stat().st_size for path in WORLD.iterdir()) < 1_500_000


def test_the_posts_have_what_filters_and_charts_are_to_show() -> None:
    posts = read_posts()
    shown = [file for post in posts for file in post.files]
    names = [file.name for file in shown]
    assert len(shown) > 100
    assert len({post.author for post in posts}) >= 7
    assert sum(file.alt is not None for file in shown) > 20
    assert sum(file.spoiler for file in shown) >= 4
    assert len(names) - len(set(names)) >= 4, "some files are posted again"
    assert {post.days // 7 for post in posts} >= set(range(7)), "there are posts in each of the last weeks"


def test_a_forward_has_no_text_of_its_own() -> None:
    assert not any(post.forward and (post.text or post.files) for post in read_posts())


async def test_all_but_the_oldest_posts_come_once_the_bot_has_connected(world: Sandbox) -> None:
    posts = read_posts()
    early = [post for post in posts if post.before_bot]
    channels = world.state.channels.values()
    assert sum(len(c.messages) for c in channels) == len(early) > 0
    assert not world.world_filled.is_set()
    async with connection(world) as bot:
        await bot.connect()
        await filled(world)
        last = max((c.last_message_id or 0, c.id) for c in channels if bot_reads(world, c.id))
        await bot.event("MESSAGE_CREATE", lambda d: d["id"] == str(last[0]))
        hidden = sum(len(c.messages) for c in channels if not bot_reads(world, c.id))
        assert hidden == 1, "one post is the moderators' own"
        assert bot.count("MESSAGE_CREATE") == len(posts) - len(early) - hidden
    assert sum(len(c.messages) for c in channels) == len(posts)


def bot_reads(world: Sandbox, channel_id: int) -> bool:
    return world.state.channels[channel_id].name != "moderators"


async def test_everything_lies_in_the_past_in_its_order(world: Sandbox) -> None:
    async with connection(world) as bot:
        await bot.connect()
        await filled(world)
    now = world.clock.now()
    joined = now - BOT_JOINED_DAYS * DAY_S
    for channel in world.state.channels.values():
        assert snowflake_time(channel.id).timestamp() < now - DAY_S
        assert all(one < other for one, other in pairwise(channel.messages))
        assert channel.last_message_id == max(channel.messages, default=None)
        for message in channel.messages.values():
            moment = snowflake_time(message.id).timestamp()
            assert message.id >= channel.id and now - FOUNDED_DAYS * DAY_S < moment < now
            if channel.name == "sketches":
                assert moment < joined
            assert all(a.id > channel.id - 1 for a in message.attachments)
    for guild in world.state.guilds.values():
        assert guild.members[world.application_id].joined_at == pytest.approx(joined, abs=60)
    cats, fair = world.channel("cats only").thread, world.channel("summer fair").thread
    assert (cats.archived, fair.archived) == (False, True)


async def test_the_world_has_threads_of_every_kind_a_forum_and_an_age_restricted_channel(world: Sandbox) -> None:
    async with connection(world) as bot:
        await bot.connect()
        await filled(world)
    posted = [c for c in world.state.channels.values() if c.messages]
    assert {c.type for c in posted} >= {ChannelType.TEXT, ChannelType.PUBLIC_THREAD, ChannelType.PRIVATE_THREAD}
    assert any(c.nsfw for c in posted)
    forum = world.channel("collections")
    threads = [c for c in posted if c.parent_id == forum.id]
    assert len(threads) >= 3 and all(min(t.messages) == t.id for t in threads)
    messages = [m for c in posted for m in c.messages.values()]
    assert any(m.stickers for m in messages) and any(m.snapshot for m in messages)
    assert any(m.reference and not m.snapshot for m in messages) and any(m.reactions for m in messages)
    assert {e["type"] for m in messages for e in m.previews} == {"image", "gifv"}
    assert any(a.cover for m in messages for a in m.attachments) and any(
        a.animated for m in messages for a in m.attachments
    )


async def test_what_somebody_posts_before_the_bot_connects_stays_the_newest(world: Sandbox) -> None:
    async with Person(world.url, world.user("cem").token) as cem, connection(world) as bot:
        mine = await cem.say(world.channel("pictures").id, "first!")
        await bot.connect()
        await filled(world)
        newest, *older = await cem.ok("GET", f"/channels/{world.channel('pictures').id}/messages")
        assert newest["id"] == mine["id"] and older


async def test_the_small_world_is_the_default_and_has_no_posts() -> None:
    async with Sandbox.serve() as sandbox:
        await filled(sandbox)
        assert {u.username for u in sandbox.state.users.values()} == {"ann", "bob", "cem", "dora", "emil", "Magpie"}
        assert not any(c.messages for c in sandbox.state.channels.values())
        assert not sandbox.state.stickers and not sandbox.state.emojis


def test_the_posts_are_one_line_each() -> None:
    lines = (WORLD / "posts.json").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line.rstrip(",")) for line in lines[1:-1]] == json.loads("\n".join(lines))
