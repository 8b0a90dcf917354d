"""The world that a trial begins with: the bot indexes it by itself, as far as it reads, from the day it joined."""

from __future__ import annotations

from pathlib import Path

from bot.models import ImageState, Source
from clipcore.types import Encoder
from sandbox.demo_world import read_posts
from sandbox.server import Sandbox
from tests.e2e.harness import House, until
from tests.empty_database import empty_database


async def test_the_bot_indexes_the_demo_world_and_finds_in_it(tmp_path: Path, encoder: Encoder) -> None:
    empty_database(tmp_path / "magpie.sqlite3")
    heard = [post for post in read_posts() if not post.before_bot and post.place != "moderators"]
    pictures = [file for post in heard for file in post.files if not file.name.endswith(".mp4")]
    async with Sandbox.serve(larger_world=True) as sandbox:
        home = House(sandbox, tmp_path, encoder)
        async with home.bot(caught_up=False):

            async def all_indexed() -> bool:
                kept = [image for image in await home.kept() if image.ref.key[0] is Source.ATTACHMENT]
                return len(kept) == len(pictures) and all(image.state is ImageState.READY for image in kept)

            await until(all_indexed, "every picture that was posted since the bot joined is indexed")
            kept = await home.kept()
            assert {Source.ATTACHMENT, Source.STICKER, Source.VIDEO} <= {image.ref.source for image in kept}
            places = {image.ref.channel.channel_id for image in kept}
            assert home.channel("sketches") not in places and home.channel("moderators") not in places
            assert home.channel("after-dark") in places and home.channel("summer fair") in places
            spoilers = {image.ref.message_id for image in kept if image.ref.spoiler}
            assert len(spoilers) == sum(any(file.spoiler for file in post.files) for post in heard)
            volcano = next(iter(home.sandbox.channel("on-the-road").messages))
            for name, expected in (("dora", [str(volcano)]), ("emil", [])):
                member = await home.member(name)
                try:
                    branch = home.sandbox.guild("Second Branch").id
                    guild, place = (home.nest, "chat") if name == "dora" else (branch, "general")
                    found = await member.find(guild, home.channel(place), "a volcano")
                    assert [one for one in found.ids if one == str(volcano)] == expected
                finally:
                    await member.close()
