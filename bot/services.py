"""What the features work with, and how its parts depend on one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import aiohttp
import discord

from bot.discord_io.archive import DiscordArchive
from bot.discord_io.attachments import Downloader
from bot.discord_io.messages import Messages
from bot.discord_io.replies import PublicReplies
from bot.features.backfill import BackfillNotices
from bot.features.formatting import TagFormatter
from bot.features.hints import Hints
from bot.features.paging import AnswerPages
from bot.features.query_image import QueryImages
from bot.features.reposts import RepostNotices
from bot.features.tagging import TagAnnouncer
from bot.indexing.backfill import Backfills
from bot.indexing.catch_up import CatchUp
from bot.indexing.comparison import MessageComparer
from bot.indexing.deletions import DeletionJournal
from bot.indexing.indexer import IndexedMessage, Indexer
from bot.indexing.labels import shipped_labels
from bot.indexing.recognition import TextReader
from bot.indexing.registry import ImageRegistry
from bot.indexing.restored import RestoredImages
from bot.indexing.retagging import Retagger
from bot.indexing.retention import Retention
from bot.indexing.retry import until_stored
from bot.indexing.succession import Succession
from bot.indexing.tagger import Tagger
from bot.logging import get_logger
from bot.monitoring import metrics
from bot.search.picture_map import PictureMaps
from bot.search.service import SearchService
from bot.search.vector_cache import VectorCache
from bot.settings import Settings
from bot.store.answers import AnswerStore
from bot.store.backfills import BackfillStore
from bot.store.database import Database
from bot.store.guilds import ChannelStore, ReplyStore
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from bot.store.members import MemberStore
from bot.store.models import ModelStore
from bot.store.reposts import RepostStore
from bot.store.retagging import RetaggingStore
from bot.store.rules import RuleStore
from bot.store.statistics import StatisticsStore
from bot.store.tags import TagStore
from clipcore.engine.engine import ClipEngine
from clipcore.images.decode import ImageLimits
from clipcore.images.processes import WorkLimits
from clipcore.index.scan import KERNEL
from clipcore.recognition import RECOGNIZES_TEXT, TextRecognizer

log = get_logger(__name__)


def decode_limits(settings: Settings) -> tuple[ImageLimits, WorkLimits]:
    """What an image may be, and what decoding it may cost."""
    limits = ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_frames=settings.max_image_frames,
    )
    return limits, WorkLimits(settings.decode_seconds, settings.decode_memory_mib << 20)


class Services:
    """Belongs to one bot, which has logged in. Owns neither engines nor the database, which have been started.

    engine: the one that answers. on_succeeded: called with the one that took over from it.
    """

    def __init__(self, settings: Settings, engine: ClipEngine, database: Database, client: discord.Client) -> None:
        self.engine = engine
        self.on_succeeded: Callable[[ClipEngine], None] | None = None
        self.models = ModelStore(database)
        self.images = ImageStore(database)
        self.channels = ChannelStore(database)
        self.rules = RuleStore(database)
        self.statistics = StatisticsStore(database)
        self.labels = LabelStore(database)
        self.tags = TagStore(database)
        self.retaggings = RetaggingStore(database)
        self.members = MemberStore(database)
        self.image_texts = ImageTextStore(database)
        self.shipped = shipped_labels(engine.card.id)
        self.tag_formatter = TagFormatter(self.shipped.book)

        hosts = frozenset(settings.cdn_hosts)
        self.messages = Messages(client, hosts, other_bots=settings.index_other_bots)
        self.replies = PublicReplies(client, ReplyStore(database))
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(settings.download_timeout_seconds))
        self.downloader = Downloader(
            self._session,
            self.messages.look_up,
            self.messages.recent_images,
            self._yield_to_queries,
            hosts=hosts,
            max_bytes=settings.max_image_bytes,
        )

        self._max_bytes = settings.index_memory_mib << 20
        self._vectors = self._vectors_of(engine)
        self.tagger = Tagger(engine, self.labels, self.channels, self.shipped)
        self.retagger = Retagger(self.retaggings, self.tagger, engine.card.key, self._yield_to_queries)
        journal = DeletionJournal(database.path)
        self.registry = ImageRegistry(
            self.images, self._vectors, self.tagger, engine.card, journal, on_forgotten=self.replies.wake
        )
        self.announcer = TagAnnouncer(
            client, self.tag_formatter, self.replies, self.messages.look_up, self.registry.hides, self.images.by_message
        )
        self.indexer = Indexer(
            self.images,
            engine,
            self.downloader.fetch,
            self.tagger,
            self.registry,
            on_message_indexed=self._announce,
            concurrency=settings.download_concurrency,
        )
        self.images.on_damaged = self.indexer.repair
        recognizer = TextRecognizer(*decode_limits(settings)) if RECOGNIZES_TEXT else None
        self.text_reader = TextReader(
            self.image_texts, recognizer, self.downloader.fetch, self.registry, self._yield_to_queries
        )
        comparer = MessageComparer(
            self.images,
            self.registry,
            self.indexer.accept,
            self.messages.page,
            self.messages.look_up,
            self.replies.found,
            self.announcer.cover,
        )
        self.catch_up = CatchUp(comparer, self.channels)
        self.retention = Retention(self.rules, self.registry)
        self.backfill_store = BackfillStore(database)
        archive = DiscordArchive(client, self.messages)
        self.backfills = Backfills(self.backfill_store, self.rules, self.images, comparer, archive)
        self.backfill_notices = BackfillNotices(client, self.backfills, self.backfill_store, self.rules)
        self.restored = RestoredImages(self.images, self.registry, comparer)
        self.search = SearchService(
            engine,
            self.images,
            self._vectors,
            self.registry,
            self.messages.look_up,
            texts=self.image_texts,
            page_size=settings.results_per_answer,
        )
        self.pages = AnswerPages(
            AnswerStore(database),
            self.search,
            self.replies,
            self.tag_formatter,
            engine.card,
            page_size=settings.results_per_answer,
        )
        self.maps = PictureMaps(self.images, self.search.vectors, self.registry, self.messages.look_up_all)
        self.reposts = RepostStore(database)
        self.repost_notices = RepostNotices(client, self.reposts, self.images, self.search, self.messages, self.replies)
        self.hints = Hints(engine.card)
        self.query_images = QueryImages(self.images, self.search, self.messages, self.downloader)
        self._successor: ClipEngine | None = None
        self._tidying: set[asyncio.Task[None]] = set()
        self.succession = Succession(
            self.models,
            self.images,
            self.registry,
            self.indexer,
            self.downloader.fetch,
            switch=self._switch,
            yield_to_queries=self._yield_to_queries,
            concurrency=settings.download_concurrency,
        )

        self._report(database)

    def _report(self, database: Database) -> None:
        """What the metrics are read from."""
        metrics.IMAGES_IN_HAND.set_function(lambda: self.indexer.in_progress)
        metrics.DELETIONS_OWED.set_function(lambda: self.registry.owed)
        metrics.INDEX_SERVERS.set_function(lambda: self._vectors.usage().guilds)
        metrics.INDEX_ROWS.set_function(lambda: self._vectors.usage().rows)
        metrics.INDEX_BYTES.set_function(lambda: self._vectors.usage().bytes)
        metrics.STORE_LOG_BYTES.set_function(database.log_bytes)
        metrics.SUCCESSOR_DONE.set_function(lambda: progress.done if (progress := self.succession.progress) else 0)
        metrics.SUCCESSOR_TOTAL.set_function(
            lambda: (progress.total or 0) if (progress := self.succession.progress) else 0
        )

    def _announce(self, message: IndexedMessage) -> None:
        self.announcer.announce(message)
        self.repost_notices.tell(message)

    def succeed(self, engine: ClipEngine) -> None:
        """This engine, which has started, is to take over: it encodes all images first."""
        self._successor = engine
        self.succession.begin(engine)

    async def _switch(self) -> None:
        """The successor answers from now on. What was asked before is answered by the former model to its end."""
        assert self._successor is not None  # noqa: S101 - the succession of this engine calls this
        engine = self._successor
        await self.models.answer_with(engine.card)
        await self.retagger.close()
        former = self.engine, self._vectors, self.tagger
        self.engine, self._vectors, self._successor = engine, self._vectors_of(engine), None
        self.shipped = shipped_labels(engine.card.id)
        self.tag_formatter.use(self.shipped.book)
        self.tagger = Tagger(engine, self.labels, self.channels, self.shipped)
        await self.registry.use(self._vectors, self.tagger, engine.card)
        self.indexer.use(engine, self.tagger)
        self.retagger.use(self.tagger, engine.card.key)
        answered = self.search.use(engine, self._vectors)
        self.pages.use(engine.card)
        self.hints.use(engine.card)
        self.tagger.start()
        self.retagger.start()
        if self.on_succeeded is not None:
            self.on_succeeded(engine)
        self._begin_tidying(former, answered)

    def _begin_tidying(
        self, former: Sequence[Closable] = (), answered: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        task = asyncio.create_task(self._tidy(former, answered), name="delete embeddings of former models")
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def _tidy(
        self, former: Sequence[Closable] = (), answered: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Closes what the former model was used by, once no question needs it any more, and deletes its embeddings."""
        if answered is not None:
            await answered()
        for part in former:
            await closed(part)
        await self.indexer.requeued.wait()  # what only they have encoded is known by them
        deleted = 0
        while count := await until_stored(lambda: self.models.drop_others(self._models_in_use())):
            deleted += count
            await self._yield_to_queries()
        if deleted:
            log.info("embeddings of former models are deleted", embeddings=deleted)

    def _models_in_use(self) -> list[str]:
        return [engine.card.key for engine in (self.engine, self._successor) if engine is not None]

    def _vectors_of(self, engine: ClipEngine) -> VectorCache:
        card = engine.card
        return VectorCache(self.images.embeddings, card.key, card.dimension, max_bytes=self._max_bytes)

    async def _yield_to_queries(self) -> None:
        await self.engine.yield_to_queries()

    async def start(self, successor: ClipEngine | None = None) -> None:
        """successor: see `succeed`."""
        log.info("vector search kernel chosen", kernel=KERNEL)
        await self.registry.start()
        self.replies.start()
        self.pages.start()
        self.tagger.start()
        await self.indexer.start()
        for guild_id in await self.rules.paused_guilds():
            self.catch_up.pause(guild_id)
        self.catch_up.start()
        self.retention.start()
        self.backfills.start()
        self.backfill_notices.start()
        self.restored.start()
        self.retagger.start()
        self.text_reader.start()
        if successor is not None:
            self.succeed(successor)
        self._begin_tidying()

    async def close(self) -> None:
        """Stops everything, what feeds the others first."""
        await closed(self.succession)
        for task in self._tidying:
            task.cancel()
        await asyncio.gather(*self._tidying, return_exceptions=True)
        async with AsyncExitStack() as stack:  # closes in reverse order, also where one of them fails
            backfills = self.backfills, self.backfill_notices
            indexing = (
                self.announcer,
                self.repost_notices,
                self.indexer,
                self.catch_up,
                *backfills,
                self.retention,
                self.restored,
                self.retagger,
                self.text_reader,
            )
            for part in (self._session, self.replies, self.pages, self._vectors, self.tagger, self.registry, *indexing):
                stack.push_async_callback(closed, part)


class Closable(Protocol):
    async def close(self) -> None: ...


CLOSING = "close "


async def closed(part: Closable) -> None:
    """Closes it in a task that tells by its name what does not end in time."""
    await asyncio.create_task(part.close(), name=CLOSING + type(part).__name__)
