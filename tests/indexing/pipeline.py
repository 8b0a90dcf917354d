"""Indexing and search on a real database, with a fake engine and a fake CDN at the edges."""

from __future__ import annotations

import asyncio
from typing import Any

from bot.indexing.deletions import DeletionJournal
from bot.indexing.indexer import IndexedMessage, Indexer
from bot.indexing.labels import NamedLabel, ShippedLabels
from bot.indexing.registry import ImageRegistry
from bot.indexing.retry import RetryPolicy
from bot.indexing.tagger import Tagger
from bot.models import Image, ImageRef, RemoteImage
from bot.protocols import Engine
from bot.search.service import SearchService
from bot.search.vector_cache import VectorCache
from bot.store.database import Database
from bot.store.guilds import ChannelStore
from bot.store.image_texts import ImageTextStore
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from tests.indexing.support import FakeCdn, FakeEngine

DEFAULTS = (NamedLabel("cat", "🐱", "cat", "猫", ("kitty",), ("a cat",)), NamedLabel("dog", "🐶", "dog", "狗"))
QUICK = RetryPolicy(first_pause_s=0.05, factor=2, longest_pause_s=1, attempts=4, jitter=0.2)


class Pipeline:
    def __init__(
        self,
        database: Database,
        *,
        store: ImageStore | None = None,
        engine: Engine | None = None,
        labels: tuple[NamedLabel, ...] = DEFAULTS,
        patience_s: float = 60,
        backoff: RetryPolicy = QUICK,
    ) -> None:
        self.store = store or ImageStore(database)
        self.channels = ChannelStore(database)
        self.labels = LabelStore(database)
        self.engine: Any = engine or FakeEngine()
        self.cdn = FakeCdn()
        self.announced: list[Image] = []
        self.messages: list[IndexedMessage] = []
        self.forgotten = 0
        self.lookup_errors: dict[int, Exception] = {}
        self.unanswered: set[int] = set()
        self.carried: dict[int, list[RemoteImage]] = {}
        card = self.engine.card
        self.index = VectorCache(self.store.embeddings, card.key, card.dimension)
        self.tagger = Tagger(self.engine, self.labels, self.channels, ShippedLabels(labels))
        self.journal = DeletionJournal(database.path)
        self.registry = ImageRegistry(
            self.store,
            self.index,
            self.tagger,
            card,
            self.journal,
            on_forgotten=self._count_forgotten,
            patience_s=patience_s,
            backoff=backoff,
        )
        self.indexer = self._indexer()
        self.texts = ImageTextStore(database)
        self.search = self.searching()

    def searching(self, *, page_size: int = 10) -> SearchService:
        parts = self.engine, self.store, self.index, self.registry, self.look_up
        return SearchService(*parts, texts=self.texts, page_size=page_size)

    def _indexer(self, **changes: Any) -> Indexer:
        settings = {"on_message_indexed": self._announce, "concurrency": 4, "retry": QUICK, "trouble_pause_s": 0.1}
        indexer = Indexer(self.store, self.engine, self.cdn, self.tagger, self.registry, **settings | changes)
        self.store.on_damaged = indexer.repair
        return indexer

    async def restart(self, **changes: Any) -> None:
        """Another indexer takes over, as after a new start of the process. The first call of it starts the first."""
        await self.indexer.close()
        self.indexer = self._indexer(**changes)
        await self.indexer.start()

    def _announce(self, message: IndexedMessage) -> None:
        self.messages.append(message)
        self.announced.extend(message.images)

    def _count_forgotten(self) -> None:
        self.forgotten += 1

    async def remember(self, *refs: ImageRef) -> list[Image]:
        """Accepts, waits until everything is done, and gives the images as the store has them now."""
        accepted = await self.indexer.accept(refs)
        await self.indexer.settled()
        rows = await self.store.get([image.id for image in accepted])
        return [rows[image.id] for image in accepted if image.id in rows]

    async def look_up(self, ref: ImageRef) -> list[RemoteImage]:
        """Discord, as the search asks it: unless a test says otherwise, a message carries what the store knows."""
        if ref.message_id in self.unanswered:
            await asyncio.get_running_loop().create_future()
        if ref.message_id in self.lookup_errors:
            raise self.lookup_errors[ref.message_id]
        if ref.message_id in self.carried:
            return self.carried[ref.message_id]
        images = await self.store.by_message(ref.message_id)
        return [RemoteImage(*image.ref.key, url="https://cdn.discordapp.com/a.png") for image in images]

    async def close(self) -> None:
        await self.indexer.close()
        await self.registry.close()
        await self.index.close()
