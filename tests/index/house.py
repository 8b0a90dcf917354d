"""The whole index room on a real database, with a fake engine and a fake CDN at its edges."""

from __future__ import annotations

from typing import Any

from bot.index.guild_index import GuildIndex
from bot.index.indexer import Indexer
from bot.index.labels import NamedLabel
from bot.index.retry import RetryPolicy
from bot.index.searcher import Searcher
from bot.index.tagger import Tagger
from bot.records import Picture, PictureRef, SearchQuery
from bot.store.channels import ChannelStore
from bot.store.database import Database
from bot.store.labels import LabelStore
from bot.store.pictures import PictureStore
from tests.index.support import DIMENSION, GUILD, FakeCdn, FakeEngine, FakeTime

DEFAULTS = (NamedLabel("cat", "🐱", "cat", "猫", ("kitty",), ("a cat",)), NamedLabel("dog", "🐶", "dog", "狗"))
QUICK = RetryPolicy(first_pause_s=10, factor=3, longest_pause_s=300, attempts=4, jitter=0.2)


class House:
    def __init__(
        self, database: Database, *, store: PictureStore | None = None, engine: FakeEngine | None = None
    ) -> None:
        self.store = store or PictureStore(database)
        self.channels = ChannelStore(database)
        self.labels = LabelStore(database)
        self.engine = engine or FakeEngine()
        self.cdn = FakeCdn()
        self.time = FakeTime()
        self.announced: list[Picture] = []
        self.index = GuildIndex(self.store, self.engine.card.key, DIMENSION)
        self.indexer = self._indexer()
        self.searcher = Searcher(self.engine, self.store, self.index)

    def _indexer(self, **changes: Any) -> Indexer:
        return Indexer(
            self.store,
            self.engine,
            Tagger(self.engine, self.labels, DEFAULTS),
            self.index,
            self.cdn,
            self.channels,
            **{"on_finished": self.announce, "concurrency": 4, "retry": QUICK}
            | {"clock": self.time, "sleep": self.time.sleep}
            | changes,
        )

    async def restart(self, **changes: Any) -> None:
        """Another indexer takes over, as after a new start of the process. The first call of it starts the first."""
        await self.indexer.close()
        self.indexer = self._indexer(**changes)
        await self.indexer.start()

    async def announce(self, picture: Picture) -> None:
        self.announced.append(picture)

    async def remember(self, *refs: PictureRef) -> list[Picture]:
        """Accepts, waits until everything is done, and gives the pictures as the store has them now."""
        accepted = await self.indexer.accept(refs)
        await self.indexer.settled()
        rows = await self.store.get([picture.id for picture in accepted])
        return [rows[picture.id] for picture in accepted if picture.id in rows]

    def everywhere(self, *refs: PictureRef, limit: int = 10) -> SearchQuery:
        return SearchQuery(GUILD, frozenset(ref.place.channel_id for ref in refs), limit)

    async def close(self) -> None:
        await self.indexer.close()
        await self.index.close()
