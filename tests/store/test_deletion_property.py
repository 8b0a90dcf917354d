"""After any sequence of accept, finish, postpone, requeue and deletions, no deleted image is found in any way."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bot.models import ChannelRef, ImageRef, ImageState, Source, ThreadKind
from bot.store.database import Database
from bot.store.guilds import ReplyStore
from bot.store.images import ImageStore
from tests.empty_database import empty_database
from tests.store.samples import CARD, NOON, OTHER, due, finished

CHANNELS = (
    ChannelRef(1, 11),
    ChannelRef(1, 12),
    ChannelRef(1, 13, 11, ThreadKind.PUBLIC),
    ChannelRef(1, 14, 11, ThreadKind.PRIVATE),
    ChannelRef(2, 21),
)
MODELS = (CARD, OTHER)


@st.composite
def refs(draw) -> ImageRef:
    """Few messages, so that rules meet the same ones: a message has one channel and author, as in Discord."""
    message = draw(st.integers(1, 12))
    channel = CHANNELS[message % len(CHANNELS)]
    return ImageRef(channel, message, draw(st.integers(101, 103)), draw(st.sampled_from(Source)), 7 + message % 2)


class StoreMachine(RuleBasedStateMachine):
    """`known`: the images that must be in the store; `tombstones`: conditions of images that must not come back."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.database = self.run(Database.open(empty_database(Path(self.folder.name) / "magpie.db")))
        self.images = ImageStore(self.database, clock=lambda: NOON)
        self.replies = ReplyStore(self.database)
        self.replied: dict[int, tuple[ChannelRef, list[int]]] = {}
        self.channels_gone: set[int] = set()
        self.known: dict[ImageRef, int] = {}
        self.gone: set[int] = set()
        self.messages_sent = 0
        self.tombstones: list = []
        self.guilds_gone: set[int] = set()
        self.model = CARD

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def teardown(self) -> None:
        self.run(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    def expect_deleted(self, covers, ids) -> None:
        lost = {ref: id_ for ref, id_ in self.known.items() if covers(ref)}
        assert sorted(ids) == sorted(lost.values())
        self.known = {ref: id_ for ref, id_ in self.known.items() if ref not in lost}
        self.gone.update(ids)

    def drop_replies(self, gone) -> None:
        self.replied = {
            message: (channel, ids) for message, (channel, ids) in self.replied.items() if not gone(channel)
        }

    def is_covered(self, ref: ImageRef) -> bool:
        return ref.channel.guild_id in self.guilds_gone or any(covers(ref) for covers in self.tombstones)

    @rule(batch=st.lists(refs(), max_size=6))
    def accept(self, batch):
        expected = [ref for ref in dict.fromkeys(batch) if ref not in self.known and not self.is_covered(ref)]
        added = self.run(self.images.accept(batch))
        assert [image.ref for image in added] == expected
        self.known.update({image.ref: image.id for image in added})

    @rule(data=st.data())
    def finish(self, data):
        """Deleted images among them, as if they had been in progress."""
        ids = sorted({*self.known.values(), *self.gone})
        some = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
        batch = [finished(id_, dimension=self.model.dimension) for id_ in some]
        assert self.run(self.images.finish(batch, self.model)).isdisjoint(self.gone)

    @rule(data=st.data(), park=st.booleans())
    def fail(self, data, park):
        ids = sorted({*self.known.values(), *self.gone})
        if ids:
            id_ = data.draw(st.sampled_from(ids))
            step = self.images.park(id_, "broken") if park else self.images.postpone(id_, NOON, "late")
            assert not (self.run(step) and id_ in self.gone)

    @rule(data=st.data(), channel=st.sampled_from(CHANNELS))
    def reply(self, data, channel):
        """The bot describes images, deleted ones among them."""
        ids = sorted({*self.known.values(), *self.gone})
        described = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3)) if ids else []
        message = 1000 + self.messages_sent
        self.messages_sent += 1
        self.run(self.replies.remember(channel, message, described))
        gone = self.channels_gone & {channel.channel_id, channel.parent_id} or channel.guild_id in self.guilds_gone
        if described and not gone:
            self.replied[message] = (channel, described)

    @rule(model=st.sampled_from(MODELS))
    def change_model(self, model):
        self.model = model
        self.run(self.images.requeue_for_model(model.key))

    @rule(message=st.integers(1, 12))
    def forget_message(self, message):
        covers = lambda ref: ref.message_id == message  # noqa: E731  # stored
        self.tombstones.append(covers)
        self.expect_deleted(covers, self.run(self.images.forget_messages([message])))

    @rule(message=st.integers(1, 12), attachment=st.integers(101, 103), source=st.sampled_from(Source))
    def forget_image(self, message, attachment, source):
        covers = lambda ref: (ref.message_id, ref.key) == (message, (source, attachment))  # noqa: E731  # as above
        if not source.returns:
            file = message, attachment
            self.tombstones.append(lambda ref: (ref.message_id, ref.attachment_id) == file)
        self.expect_deleted(covers, self.run(self.images.forget_images(message, [(source, attachment)])))

    @rule(channel=st.sampled_from([11, 12, 13, 21]))
    def forget_channel(self, channel):
        covers = lambda ref: channel in (ref.channel.channel_id, ref.channel.parent_id)  # noqa: E731  # as above
        self.tombstones.append(covers)
        self.expect_deleted(covers, self.run(self.images.forget_channel(channel)))
        self.channels_gone.add(channel)
        self.drop_replies(lambda where: channel in (where.channel_id, where.parent_id))

    @rule(author=st.sampled_from([7, 8]), up_to=st.integers(1, 12))
    def forget_author(self, author, up_to):
        covers = lambda ref: (  # noqa: E731  # as above
            ref.channel.guild_id == 1 and ref.author_id == author and ref.message_id <= up_to
        )
        if 1 not in self.guilds_gone:
            self.tombstones.append(covers)
        self.expect_deleted(covers, self.run(self.images.forget_author(1, author, up_to_message=up_to)))

    @rule(readmit=st.booleans())
    def forget_or_readmit_a_guild(self, readmit):
        if readmit:
            self.guilds_gone.discard(2)
            self.run(self.images.readmit_guild(2))
        else:
            self.guilds_gone.add(2)
            self.expect_deleted(lambda ref: ref.channel.guild_id == 2, self.run(self.images.forget_guild(2)))
            self.drop_replies(lambda where: where.guild_id == 2)

    @invariant()
    def the_store_has_exactly_the_known_images(self):
        alive = set(self.known.values())
        there = self.run(self.images.get(alive | self.gone))
        assert {image.ref: id_ for id_, image in there.items()} == self.known
        found = {image.id for image in self.run(due(self.images, 100, NOON))}
        assert found == {id_ for id_, image in there.items() if image.state is ImageState.PENDING}
        ready = {id_ for id_, image in there.items() if image.state is ImageState.READY}
        assert self.run(self.searchable()) == ready

    @invariant()
    def a_reply_is_an_orphan_exactly_when_one_of_its_images_is_deleted(self):
        alive = set(self.known.values())
        expected = [message for message, (_, ids) in sorted(self.replied.items()) if not alive.issuperset(ids)]
        assert [reply.message_id for reply in self.run(self.replies.orphans(1000))] == expected

    async def searchable(self) -> set[int]:
        return {
            int(id_)
            for guild in (1, 2)
            async for page in self.images.embeddings(guild, self.model.key, page=3)
            for id_ in page.ids
        }


StoreMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
test_no_deleted_image_is_ever_found_again = StoreMachine.TestCase
