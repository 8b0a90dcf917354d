"""After any history of posts, deletions, backups, restores and comparisons, no search finds what was deleted."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.models import ChannelRef, ImageRef, Source, ThreadKind
from bot.store.backup import back_up, restore
from bot.store.database import Database
from tests.empty_database import empty_database
from tests.indexing.pipeline import Pipeline
from tests.indexing.test_restored import FakeDiscord
from tests.store.samples import finished

PLACES = (ChannelRef(1, 11), ChannelRef(1, 12, 11, ThreadKind.PUBLIC), ChannelRef(2, 21))
AUTHORS = (7, 8)


class RestoreMachine(RuleBasedStateMachine):
    """posted: images in Discord, forgotten ones among them. ever: these, and those that were deleted. gone: those that
    must never be found again.
    """

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "magpie.db"
        empty_database(self.path)
        self.discord = FakeDiscord()
        self.posted: list[ImageRef] = []
        self.ever: set[ImageRef] = set()
        self.gone: set[ImageRef] = set()
        self.last_id = 100
        self.backups: list[tuple[Path, set[ImageRef]]] = []
        self.open()
        for place in PLACES:  # so that every history has something to lose
            for author in AUTHORS:
                self.post(place, author, 2)
        self.back_up()
        unheard = self.posted[0]  # and something that only a comparison can tell
        self.lose(lambda ref: ref.message_id == unheard.message_id)

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def open(self) -> None:
        self.database = self.run(Database.open(self.path))
        self.pipeline = Pipeline(self.database)

    def close(self) -> None:
        self.run(self.pipeline.close())
        self.run(self.database.close())

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.restore_backup(0)  # every history ends with the oldest backup, which knows the least
            self.catch_up()
            self.nothing_that_was_deleted_is_found()
            self.close()
            self.loop.close()
            self.folder.cleanup()

    def index(self, refs: list[ImageRef]) -> None:
        accepted = self.run(self.pipeline.store.accept(refs))
        self.run(self.pipeline.registry.commit([(image, finished(image.id)) for image in accepted]))

    def lose(self, covers) -> list[ImageRef]:
        """Discord deletes these. Returns them."""
        lost = [ref for ref in self.posted if covers(ref)]
        self.posted = [ref for ref in self.posted if not covers(ref)]
        for ref in lost:
            message = self.discord.carried[ref.channel.channel_id]
            message[ref.message_id] -= {ref.key}
            if not message[ref.message_id]:
                del message[ref.message_id]
        return lost

    @rule(place=st.sampled_from(PLACES), author=st.sampled_from(AUTHORS), images=st.integers(1, 2))
    def post(self, place, author, images):
        self.last_id += 10
        first = ImageRef(place, self.last_id, self.last_id + 1, Source.ATTACHMENT, author)
        refs = [first, replace(first, attachment_id=self.last_id + 2)][:images]
        self.posted += refs
        self.ever |= {*refs}
        self.discord.post(*refs)
        self.index(refs)

    @precondition(lambda self: self.posted)
    @rule(data=st.data(), heard=st.booleans(), whole=st.booleans())
    def delete(self, data, heard, whole):
        """A message, or one image of it."""
        ref = data.draw(st.sampled_from(self.posted))
        lost = self.lose(lambda one: one.message_id == ref.message_id and (whole or one == ref))
        if heard:
            self.gone.update(lost)
            if whole:
                self.run(self.pipeline.registry.forget_messages([ref.message_id]))
            else:
                self.run(self.pipeline.registry.forget_images(ref.message_id, [ref.key]))

    @rule(author=st.sampled_from(AUTHORS), guild=st.sampled_from([1, 2]))
    def forget_author(self, author, guild):
        """Their messages stay in Discord."""
        mine = [ref for ref in self.posted if (ref.channel.guild_id, ref.author_id) == (guild, author)]
        self.gone.update(mine)
        self.run(self.pipeline.registry.forget_author(guild, author, up_to_message=self.last_id))

    @rule()
    def leave_and_come_back(self):
        self.gone.update(ref for ref in self.posted if ref.channel.guild_id == 2)
        self.run(self.pipeline.registry.forget_guild(2))
        self.run(self.pipeline.store.readmit_guild(2))

    @rule()
    def back_up(self) -> None:
        file = self.path.with_name(f"backup {len(self.backups)}")
        back_up(self.path, file)
        self.backups.append((file, self.found()))

    @rule(data=st.data())
    def restore(self, data):
        self.restore_backup(data.draw(st.integers(0, len(self.backups) - 1)))

    def restore_backup(self, number: int) -> None:
        file, held = self.backups[number]
        self.close()
        self.run(restore(self.path, file))
        self.path.with_name("magpie.db.before-restore").unlink()
        self.gone |= self.ever - {*self.posted}  # also what was deleted without the bot's hearing of it
        self.open()
        assert self.found() == set()
        self.compare()
        assert self.found() == held - self.gone

    def compare(self):
        comparison = self.discord.comparison(self.pipeline)

        async def compare() -> None:
            comparison.start()
            await asyncio.wait_for(comparison.finished(), 60)

        self.run(compare())

    @rule()
    def catch_up(self):
        """Offers what exists again. In a server that removed the bot, older messages are not read."""
        self.index([ref for ref in self.posted if ref.channel.guild_id == 1 or ref not in self.gone])

    @invariant()
    def nothing_that_was_deleted_is_found(self):
        if hasattr(self, "loop"):
            assert self.found().isdisjoint(self.gone)

    def found(self) -> set[ImageRef]:
        async def search() -> set[ImageRef]:
            found = set()
            for guild in (1, 2):
                channels = {place.channel_id for place in PLACES}
                sought = finished(1).embedding.astype("f4")
                hits = (await self.pipeline.index.search(guild, sought, channels, 1000)).hits
                images = await self.pipeline.store.get([hit.key for hit in hits])
                found |= {image.ref for image in images.values()}
            return found

        return self.run(search())


RestoreMachine.TestCase.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)
test_no_deleted_image_is_ever_found_after_a_restore = RestoreMachine.TestCase
