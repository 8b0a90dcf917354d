"""What the features work with, and how its parts depend on one another."""

from __future__ import annotations

import asyncio
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
    """Belongs to one bot, which has logged in. Owns neither the engine nor the database, which have been started."""

    def __init__(self, settings: Settings, engine: ClipEngine, database: Database, client: discord.Client) -> None:
        self.engine = engine
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
            engine.yield_to_queries,
            hosts=hosts,
            max_bytes=settings.max_image_bytes,
        )

        max_bytes = settings.index_memory_mib << 20
        self._vectors = VectorCache(self.images.embeddings, engine.card.key, engine.card.dimension, max_bytes=max_bytes)
        self.tagger = Tagger(engine, self.labels, self.channels, self.shipped)
        self.retagger = Retagger(self.retaggings, self.tagger, engine.card.key, engine.yield_to_queries)
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
            self.image_texts, recognizer, self.downloader.fetch, self.registry, engine.yield_to_queries
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
        self.maps = PictureMaps(self.images, self._vectors, self.registry, self.messages.look_up_all)
        self.reposts = RepostStore(database)
        self.repost_notices = RepostNotices(client, self.reposts, self.images, self.search, self.messages, self.replies)
        self.hints = Hints(engine.card)
        self.query_images = QueryImages(self.images, self.search, self.messages, self.downloader)

        metrics.IMAGES_IN_HAND.set_function(lambda: self.indexer.in_progress)
        metrics.DELETIONS_OWED.set_function(lambda: self.registry.owed)
        metrics.INDEX_SERVERS.set_function(lambda: self._vectors.usage().guilds)
        metrics.INDEX_ROWS.set_function(lambda: self._vectors.usage().rows)
        metrics.INDEX_BYTES.set_function(lambda: self._vectors.usage().bytes)
        metrics.STORE_LOG_BYTES.set_function(database.log_bytes)

    def _announce(self, message: IndexedMessage) -> None:
        self.announcer.announce(message)
        self.repost_notices.tell(message)

    async def start(self) -> None:
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

    async def close(self) -> None:
        """Stops everything, what feeds the others first."""
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
