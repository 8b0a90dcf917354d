"""Deletions, locks, kills and restarts in any order: nothing deleted is ever shown, or kept in the end."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bot.errors import StoreBusy
from bot.models import ChannelRef, ImageRef, Readable, Source, ThreadKind
from bot.store.database import Database
from bot.store.images import Finished
from tests.empty_database import empty_database
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import like, until

CHANNELS = (ChannelRef(1, 11), ChannelRef(1, 12), ChannelRef(1, 13, 11, ThreadKind.PUBLIC), ChannelRef(2, 21))
MESSAGES = st.integers(1, 12)
ATTACHMENTS = st.integers(101, 103)
SIGHT = np.eye(1, 16, dtype=np.float16)[0]

refs = st.builds(
    lambda message, attachment: ImageRef(
        CHANNELS[message % len(CHANNELS)], message, attachment, Source.ATTACHMENT, 7 + message % 2
    ),
    MESSAGES,
    ATTACHMENTS,
)


class Everybody:
    """May read everything in a guild."""

    def __init__(self, guild_id: int) -> None:
        self.guild_id = guild_id

    def readable(self, channels: Any) -> Readable:
        return Readable(frozenset(channel.channel_id for channel in channels), frozenset())

    async def ask(self, thread_ids: Any) -> None:
        raise AssertionError("there is nothing to ask about")


class ObligationMachine(RuleBasedStateMachine):
    """`known`: the images that must be there in the end, by their ref. `deleted`: which images must never come back.

    `perhaps`: an edit may have removed an image before it was accepted; whether it is accepted later, nobody says.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = empty_database(Path(self.folder.name) / "magpie.db")
        self.other = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        self.known: dict[ImageRef, int] = {}
        self.gone: dict[int, ImageRef] = {}
        self.deleted: list[Callable[[ImageRef], bool]] = []
        self.perhaps: set[ImageRef] = set()
        self.guild_left = False
        self.readmission: asyncio.Task[None] | None = None
        self.run(self.start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def start(self) -> None:
        self.database = await Database.open(self.path, busy_timeout=0.02)
        self.pipeline = Pipeline(self.database, patience_s=0.02)
        await self.pipeline.registry.start()

    async def kill(self) -> None:
        """Nothing that runs gets to its end, and nothing is said good-bye to."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.database.close()

    @property
    def locked(self) -> bool:
        return self.other.in_transaction

    def teardown(self) -> None:
        self.unlock_and_settle()
        stored = self.run(self.pipeline.store.get([*self.known.values(), *self.gone]))
        assert {image.ref: id_ for id_, image in stored.items()} == self.known
        assert not self.pipeline.journal
        self.run(self.pipeline.close())
        self.run(self.kill())
        self.loop.close()
        self.other.close()
        self.folder.cleanup()

    # -- what comes

    @rule(batch=st.lists(refs, max_size=5, unique=True))
    def accept_and_index(self, batch: list[ImageRef]) -> None:
        allowed = {ref for ref in batch if ref not in self.known and not any(covers(ref) for covers in self.deleted)}
        if self.guild_left:
            allowed = {ref for ref in allowed if ref.channel.guild_id != 2}
        try:
            images = self.run(self.pipeline.indexer.accept(batch))
        except StoreBusy:
            assert self.locked or self.readmission is not None
            return
        added = {image.ref: image.id for image in images}
        assert added.keys() <= allowed
        assert allowed - self.perhaps <= added.keys()
        finished = [(image, Finished(image.id, f"hash-{image.id}", 1, 1, SIGHT)) for image in images]
        assert self.run(self.pipeline.registry.commit(finished)) == set(added.values())
        self.known |= added

    def forget(self, covers: Callable[[ImageRef], bool], work: Coroutine[Any, Any, Any]) -> None:
        lost = {ref: id_ for ref, id_ in self.known.items() if covers(ref)}
        self.known = {ref: id_ for ref, id_ in self.known.items() if ref not in lost}
        self.gone |= {id_: ref for ref, id_ in lost.items()}
        self.run(work)

    @rule(messages=st.lists(MESSAGES, min_size=1, max_size=3, unique=True))
    def delete_messages(self, messages: list[int]) -> None:
        self.deleted.append(lambda ref: ref.message_id in messages)
        self.forget(self.deleted[-1], self.pipeline.registry.forget_messages(messages))

    @rule(message=MESSAGES, kept=st.sets(ATTACHMENTS))
    def edit_message(self, message: int, kept: set[int]) -> None:
        def covers(ref: ImageRef) -> bool:
            return ref.message_id == message and ref.attachment_id not in kept

        removed = {ref for ref in self.known if covers(ref)}
        self.deleted.append(removed.__contains__)
        here = CHANNELS[message % len(CHANNELS)]
        every = {ImageRef(here, message, id_, Source.ATTACHMENT, 7 + message % 2) for id_ in (101, 102, 103)}
        self.perhaps |= {ref for ref in every if covers(ref)}
        keys = [(Source.ATTACHMENT, id_) for id_ in kept]
        self.forget(covers, self.pipeline.registry.forget_all_but(message, keys))

    @rule(channel=st.sampled_from([12, 13, 11]))
    def delete_channel(self, channel: int) -> None:
        self.deleted.append(lambda ref: channel in (ref.channel.channel_id, ref.channel.parent_id))
        self.forget(self.deleted[-1], self.pipeline.registry.forget_channel(channel))

    @rule(author=st.sampled_from([7, 8]), up_to=MESSAGES)
    def forget_author(self, author: int, up_to: int) -> None:
        self.deleted.append(
            lambda ref: ref.channel.guild_id == 1 and ref.author_id == author and ref.message_id <= up_to
        )
        self.forget(self.deleted[-1], self.pipeline.registry.forget_author(1, author, up_to))

    @rule(channel=st.sampled_from([None, 11, 12, 13]), up_to=MESSAGES)
    def forget_up_to(self, channel: int | None, up_to: int) -> None:
        def covers(ref: ImageRef) -> bool:
            here = channel in (None, ref.channel.channel_id, ref.channel.parent_id)
            return ref.channel.guild_id == 1 and here and ref.message_id <= up_to

        self.deleted.append(covers)
        places = [] if channel is None else [channel]
        self.forget(covers, self.pipeline.registry.forget_up_to(1, places, up_to, for_good=True))

    @rule(
        message=MESSAGES.filter(lambda message: CHANNELS[message % len(CHANNELS)].guild_id == 1),
        ids=st.sets(ATTACHMENTS),
    )
    def exclude_images(self, message: int, ids: set[int]) -> None:
        self.deleted.append(lambda ref: ref.message_id == message and (not ids or ref.attachment_id in ids))
        keys = [(Source.ATTACHMENT, id_) for id_ in ids]
        self.forget(self.deleted[-1], self.pipeline.registry.exclude_images(1, message, keys))

    @rule()
    def leave_the_other_guild(self) -> None:
        self.guild_left, self.readmission = True, None
        self.forget(lambda ref: ref.channel.guild_id == 2, self.pipeline.registry.forget_guild(2))

    @rule()
    def come_back_to_the_other_guild(self) -> None:
        self.run(self.readmit())

    async def readmit(self) -> None:
        self.readmission = asyncio.create_task(self.pipeline.registry.readmit_guild(2))
        await asyncio.wait({self.readmission}, timeout=0.02 if self.locked else 60)
        self.note_readmission()

    def note_readmission(self) -> None:
        if self.readmission is not None and self.readmission.done():
            self.guild_left, self.readmission = False, None

    # -- what befalls the bot

    @rule()
    def lock(self) -> None:
        self.run(until(self.try_to_lock))

    def try_to_lock(self) -> bool:
        with suppress(sqlite3.OperationalError):  # while the bot writes
            if not self.locked:
                self.other.execute("BEGIN IMMEDIATE")
        return self.locked

    @rule()
    def unlock_and_settle(self) -> None:
        if self.locked:
            self.other.execute("ROLLBACK")
        self.run(until(lambda: not self.pipeline.registry.owed and not self.pipeline.journal))
        if self.readmission is not None:
            self.run(asyncio.wait_for(self.readmission, 60))
            self.note_readmission()

    @rule(orderly=st.booleans(), locked=st.booleans())
    def start_again(self, orderly: bool, locked: bool) -> None:
        """The lock ends meanwhile, since no bot starts with a locked database, but another may come at once."""
        waiting = self.readmission is not None
        if orderly:
            self.run(self.pipeline.close())
        self.run(self.kill())
        if self.locked:
            self.other.execute("ROLLBACK")
        self.run(self.start_locked() if locked else self.start())
        if waiting:
            self.run(self.readmit())

    async def start_locked(self) -> None:
        self.database = await Database.open(self.path, busy_timeout=0.02)
        await until(self.try_to_lock)
        self.pipeline = Pipeline(self.database, patience_s=0.02)
        await self.pipeline.registry.start()

    # -- what must hold

    @invariant()
    def nothing_deleted_is_shown(self) -> None:
        self.run(self.look())

    async def look(self) -> None:
        for guild_id in (1, 2):
            found = await self.pipeline.search.ask(Everybody(guild_id), like(SIGHT.astype(np.float32)))
            there = {match.image.id for match in found.matches}
            assert there <= set(self.known.values())
            mine = [id_ for ref, id_ in self.known.items() if ref.channel.guild_id == guild_id]
            assert len(there) == min(len(mine), 10), "what is hidden takes nobody's place"
        for id_, ref in self.gone.items():
            assert await self.pipeline.search.visible_image(Everybody(ref.channel.guild_id), id_) is None


ObligationMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
test_whatever_befalls_the_bot_nothing_deleted_is_shown_or_kept = ObligationMachine.TestCase
