"""Sessions of single shards that are lost while the others go on, and what they miss meanwhile."""

from __future__ import annotations

from sandbox.faults import Fault
from tests.bot.status_pages import free_port, health, scrape
from tests.e2e.harness import House, captions, sample, until

SHARDS = 2


async def test_a_new_session_of_one_shard_leaves_the_servers_of_the_others_live(home: House) -> None:
    cem, images, port = await home.member("cem"), home.channel("pictures"), free_port()
    home.sandbox.limits.shards = SHARDS
    async with home.bot(STATUS_PORT=port) as bot:
        assert bot.shard_count == SHARDS
        await home.indexed(await cem.post(images, sample("rocket")))
        own_shard = (home.nest >> 22) % SHARDS
        assert bot.get_guild(home.nest).shard_id == own_shard  # type: ignore[union-attr]
        other = bot.get_shard(1 - own_shard)
        assert other is not None
        before = await sessions(port)
        await other.reconnect()

        async def reconnected() -> bool:
            return await sessions(port) > before and (await health(url_of(port))).status == "ok"

        await until(reconnected, "the other shard has a new session")
        posted = await cem.post(images, sample("panda"))
        await home.indexed(posted)

        async def seen() -> bool:
            return (await bot.services.channels.last_seen(images) or 0) >= int(posted["id"])

        await until(seen, "the message has moved the watermark of its channel")
        assert (await cem.find(home.nest, images, captions("panda")[0])).ids == [posted["id"]]


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def sessions(port: int) -> float:
    return (await scrape(url_of(port)))['magpie_gateway_connections_total{kind="new"}']


async def test_a_server_that_removed_the_bot_unnoticed_is_forgotten_at_the_next_session(home: House) -> None:
    cem = await home.member("cem")
    async with home.bot() as bot:
        posted = await cem.post(home.channel("pictures"), sample("panda"))
        await home.indexed(posted)
        home.sandbox.faults.add(Fault("lost_event", event="GUILD_DELETE"))
        home.sandbox.remove_bot(home.sandbox.guild("The Nest"))
        assert bot.get_guild(home.nest) is not None
        await home.sandbox.invalidate_session()
        await home.forgotten(posted)
