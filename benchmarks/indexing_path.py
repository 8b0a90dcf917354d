"""The whole indexing path as the bot has it, with files in memory in Discord's place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from bot.index.guild_index import GuildIndex
from bot.index.indexer import Indexer
from bot.index.labels import default_labels
from bot.index.seams import MakeRoom
from bot.index.tagger import Tagger
from bot.records import PictureRef, Place, Source
from bot.settings import Settings
from bot.store.channels import ChannelStore
from bot.store.database import Database
from bot.store.labels import LabelStore
from bot.store.pictures import PictureStore
from clipcore.engine import ClipEngine

_GUILD = 1 << 40
_CHANNELS = 5
_SETTINGS = Settings.model_fields


class IndexingPath:
    """Real store, real engine, the shipped labels, the settings' defaults."""

    def __init__(self, database: Database, engine: ClipEngine) -> None:
        self._store = PictureStore(database)
        self.guild_index = GuildIndex(self._store, engine.card.key, engine.card.dimension)
        self.indexer = Indexer(
            self._store,
            engine,
            Tagger(engine, LabelStore(database), default_labels(engine.card.id)),
            self.guild_index,
            self._fetch,
            ChannelStore(database),
            concurrency=_SETTINGS["download_concurrency"].default,
        )
        self._numbers = count(1)
        self._files: dict[int, bytes] = {}

    async def index(self, files: Sequence[bytes]) -> None:
        """Files, each in a message of its own -> vector, tags and rows, committed."""
        refs = [self._posted(file) for file in files]
        await self.indexer.accept(refs)
        await self.indexer.settled()
        self._files.clear()

    def anew(self, files: Sequence[bytes]) -> list[bytes]:
        """The same pictures in files that were never seen: what follows a JPEG's end is in its hash alone."""
        return [file + next(self._numbers).to_bytes(8, "big") for file in files]

    def _posted(self, file: bytes) -> PictureRef:
        number = next(self._numbers)
        self._files[number] = file
        return PictureRef(Place(_GUILD, _GUILD + 1 + number % _CHANNELS), number << 22, number, Source.ATTACHMENT, 7)

    async def _fetch(self, ref: PictureRef, make_room: MakeRoom) -> bytes:
        file = self._files[ref.attachment_id]
        await make_room(len(file))
        return file


@asynccontextmanager
async def indexing_path(engine: ClipEngine, folder: Path) -> AsyncIterator[IndexingPath]:
    async with await Database.open(folder / "magpie.sqlite3") as database:
        path = IndexingPath(database, engine)
        await path.indexer.start()
        try:
            yield path
        finally:
            await path.indexer.close()
            await path.guild_index.close()
