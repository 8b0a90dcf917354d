"""After a change of labels, images are tagged again from what is stored, in the background, as far as a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from bot.errors import StoreBusy
from bot.indexing.retagging import Retagger
from bot.models import Image, Tag, TagDecision, TaggingMode
from bot.store.database import Database
from bot.store.retagging import Progress, RetaggingStore, RetagPage
from bot.store.tags import TagStore
from clipcore.errors import EncodingFailed
from tests.indexing.pipeline import Pipeline
from tests.indexing.support import CARD, GUILD, channel_ref, image_ref, only, until


class Server(Pipeline):
    """A pipeline whose images are tagged again, two at a time. yields: how often queries were let pass."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.retaggings = Interrupted(database)
        self.tags = TagStore(database)
        self.yields = 0
        self.queries = asyncio.Event()
        self.queries.set()
        self.begin()

    def begin(self) -> None:
        self.retagger = Retagger(
            self.retaggings, self.tagger, CARD.key, self.let_queries_pass, page=2, pause_s=0.02, look_again_s=0.05
        )
        self.retagger.start()

    async def let_queries_pass(self) -> None:
        self.yields += 1
        await self.queries.wait()

    async def tag_with(self, *names: str, guild: int = GUILD) -> None:
        await self.labels.change(guild, None, only(*names))
        await self.retagger.labels_changed(guild)

    async def tags_of(self, images: Sequence[Image]) -> list[list[str]]:
        rows = await self.store.get([image.id for image in images])
        return [[tag.label for tag in rows[image.id].tags] for image in images]


class Interrupted(RetaggingStore):
    """before_write: runs before each page is written. errors: raised once each instead."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.errors: list[Exception] = []
        self.pages = 0
        self.finished: list[int] = []  # guilds
        self.before_write = lambda: asyncio.sleep(0)

    async def retag(self, page: RetagPage, scored: dict[int, Sequence[Tag]]) -> bool:
        self.pages += 1
        await self.before_write()
        if self.errors:
            raise self.errors.pop(0)
        if page.last == page.after:
            self.finished.append(page.guild_id)
        return await super().retag(page, scored)


@pytest.fixture
async def server(database: Database) -> AsyncIterator[Server]:
    made = Server(database)
    await made.indexer.start()
    yield made
    await made.retagger.close()
    await made.close()


def refs(count: int, where=None):
    return [image_ref(number, where) for number in range(count)]


async def test_all_images_are_tagged_again_without_being_downloaded_or_encoded(server: Server) -> None:
    images = await server.remember(*refs(5))
    fetched, encoded = server.cdn.fetched.total(), server.engine.encoded.total()
    await server.tag_with("sofa")
    await server.retagger.settled()
    assert await server.tags_of(images) == [["sofa"]] * 5
    assert (server.cdn.fetched.total(), server.engine.encoded.total()) == (fetched, encoded)
    assert server.yields > server.retaggings.pages / 2
    await server.tag_with()
    await server.retagger.settled()
    assert await server.tags_of(images) == [[]] * 5


async def test_queries_go_first(server: Server) -> None:
    images = await server.remember(*refs(3))
    server.queries.clear()
    await server.tag_with("sofa")
    await until(lambda: server.yields > 0)
    assert await server.tags_of(images) == [["cat"]] * 3
    server.queries.set()
    await server.retagger.settled()
    assert await server.tags_of(images) == [["sofa"]] * 3


async def test_progress_is_told_and_a_restart_goes_on_where_it_was(server: Server) -> None:
    images = await server.remember(*refs(6))
    held = asyncio.Event()

    async def hold() -> None:
        if server.retaggings.pages == 2:
            await held.wait()

    server.retaggings.before_write = hold
    await server.tag_with("sofa")
    await until(lambda: server.retaggings.pages == 2)
    assert await server.retaggings.progress(GUILD) == Progress(2, 6)
    await server.retagger.close()
    assert await server.tags_of(images) == [["sofa"]] * 2 + [["cat"]] * 4
    held.set()
    server.begin()
    await server.retagger.settled()
    assert await server.tags_of(images) == [["sofa"]] * 6
    assert server.retaggings.pages == 1 + 1 + 2 + 1, "the interrupted page once more, and the last one says: done"
    assert await server.retaggings.progress(GUILD) is None


async def test_what_members_decide_meanwhile_stays(server: Server) -> None:
    images = await server.remember(*refs(4))
    await server.tags.decide(images[0].id, [TagDecision("Sofa", kept=False)])

    async def decide() -> None:
        await server.tags.decide(images[3].id, [TagDecision("SOFA", kept=False), TagDecision("mine", kept=True)])

    server.retaggings.before_write = decide
    await server.tag_with("sofa")
    await server.retagger.settled()
    assert await server.tags_of(images) == [[], ["sofa"], ["sofa"], ["mine"]]


async def test_labels_that_change_meanwhile_begin_anew(server: Server) -> None:
    images = await server.remember(*refs(5))
    changed = False

    async def change() -> None:
        nonlocal changed
        if not changed and server.retaggings.pages == 2:
            changed = True
            await server.tag_with("lamp")

    server.retaggings.before_write = change
    await server.tag_with("sofa")
    await server.retagger.settled()
    assert await server.tags_of(images) == [["lamp"]] * 5


async def test_a_change_of_which_the_tagger_was_not_told_is_noticed(server: Server) -> None:
    images = await server.remember(*refs(2))
    await server.labels.change(GUILD, None, only("sofa"))
    server.retagger.wake()
    await server.retagger.settled()
    assert await server.tags_of(images) == [["sofa"]] * 2


async def test_an_image_in_progress_while_the_labels_change_gets_the_new_tags(server: Server) -> None:
    """It is tagged by the old labels, and committed after everything else was tagged again."""
    slow = server.engine.slow_labels["cat"] = asyncio.Event()
    [image] = await server.indexer.accept(refs(1))
    await until(lambda: len(server.engine.classifiers) == 1)
    await server.tag_with("sofa")
    await server.retagger.settled()
    slow.set()
    await server.indexer.settled()
    pages = server.retaggings.pages
    await until(lambda: server.retaggings.pages > pages + 1)
    assert await server.tags_of([image]) == [["sofa"]]


async def test_channels_without_tagging_keep_what_they_have(server: Server) -> None:
    quiet = channel_ref(2)
    [image] = await server.remember(image_ref(1, quiet))
    await server.channels.set_tagging_mode(quiet, TaggingMode.OFF)
    await server.tag_with("sofa")
    await server.retagger.settled()
    assert await server.tags_of([image]) == [["cat"]]
    await server.channels.set_tagging_mode(quiet, TaggingMode.SILENT)
    await server.retagger.labels_changed(GUILD)
    await server.retagger.settled()
    assert await server.tags_of([image]) == [["sofa"]]


async def test_deleted_images_do_not_come_back(server: Server) -> None:
    images = await server.remember(*refs(4))

    async def forget() -> None:
        await server.store.forget_messages([images[1].ref.message_id])

    server.retaggings.before_write = forget
    await server.tag_with("sofa")
    await server.retagger.settled()
    assert (await server.store.get([images[1].id])) == {}
    assert await server.tags_of([images[0], images[2], images[3]]) == [["sofa"]] * 3


async def test_a_failing_store_or_label_is_tried_again_and_holds_up_no_other_guild(server: Server) -> None:
    other = channel_ref(1, guild=7)
    here, there = await server.remember(*refs(2)), await server.remember(image_ref(9, other))
    server.retaggings.errors = [StoreBusy("locked"), StoreBusy("locked")]
    slow = server.engine.slow_labels["slow"] = asyncio.Event()
    await server.tag_with("slow")
    await server.tag_with("sofa", guild=7)
    await until(lambda: not server.retaggings.errors)
    await until(lambda: server.retaggings.finished == [7])
    assert (await server.tags_of(there), await server.tags_of(here)) == ([["sofa"]], [["cat"]] * 2)
    server.engine.classifier_error = EncodingFailed()
    with capture_logs() as logs:
        await server.tag_with("new")
        slow.set()
        await until(lambda: len(logs) > 1)
    assert await server.tags_of(here) == [["cat"]] * 2, "labels that cannot be encoded take no tags away"
    server.engine.classifier_error = None
    await server.retagger.settled()
    assert await server.tags_of(here) == [["new"]] * 2
