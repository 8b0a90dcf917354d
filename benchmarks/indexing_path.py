"""The whole indexing path as the bot has it, with files in memory in Discord's place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from bot.indexing.deletions import DeletionJournal
from bot.indexing.indexer import Indexer
from bot.indexing.labels import shipped_labels
from bot.indexing.registry import ImageRegistry
from bot.indexing.tagger import Tagger
from bot.models import ChannelRef, ImageRef, Source
from bot.search.vector_cache import VectorCache
from bot.settings import Settings
from bot.store.database import Database
from bot.store.guilds import ChannelStore
from bot.store.images import ImageStore
from bot.store.labels import LabelStore
from clipcore.engine.engine import ClipEngine

_GUILD = 1 << 40
_CHANNELS = 5
_SETTINGS = Settings.model_fields


class IndexingPath:
    """Real store, real engine, the shipped labels, the settings' defaults."""

    def __init__(self, database: Database, engine: ClipEngine) -> None:
        self._store = ImageStore(database)
        self.vector_cache = VectorCache(self._store.embeddings, engine.card.key, engine.card.dimension)
        tagger = Tagger(engine, LabelStore(database), ChannelStore(database), shipped_labels(engine.card.id))
        registry = ImageRegistry(self._store, self.vector_cache, tagger, engine.card, DeletionJournal(database.path))
        concurrency = _SETTINGS["download_concurrency"].default
        self.indexer = Indexer(self._store, engine, self._fetch, tagger, registry, concurrency=concurrency)
        self._numbers = count(1)
        self._files: dict[int, bytes] = {}

    async def index(self, files: Sequence[bytes]) -> None:
        """Files, each in a message of its own -> vector, tags and rows, committed."""
        refs = [self._posted(file) for file in files]
        await self.indexer.accept(refs)
        await self.indexer.settled()
        self._files.clear()

    def anew(self, files: Sequence[bytes]) -> list[bytes]:
        """The same images in files that were never seen: what follows a JPEG's end is in its hash alone."""
        return [file + next(self._numbers).to_bytes(8, "big") for file in files]

    def _posted(self, file: bytes) -> ImageRef:
        number = next(self._numbers)
        self._files[number] = file
        return ImageRef(ChannelRef(_GUILD, _GUILD + 1 + number % _CHANNELS), number << 22, number, Source.ATTACHMENT, 7)

    @asynccontextmanager
    async def _fetch(self, ref: ImageRef, arrived: object) -> AsyncIterator[bytes]:
        yield self._files[ref.attachment_id]


@asynccontextmanager
async def indexing_path(engine: ClipEngine, folder: Path) -> AsyncIterator[IndexingPath]:
    async with await Database.open(folder / "magpie.sqlite3") as database:
        path = IndexingPath(database, engine)
        await path.indexer.start()
        try:
            yield path
        finally:
            await path.indexer.close()
            await path.vector_cache.close()
