"""A large bot's database: up to a million images with embeddings and tags, built once a process."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from benchmarks.random_vectors import DIMENSION, random_halves
from bot.models import DISCORD_EPOCH_MS
from bot.store.database import Database
from clipcore.types import ModelCard

GUILD = 1 << 50
CHANNELS = 500
TAGS = 5
CARD = ModelCard("benchmark", "1", DIMENSION, 224, 77, 100.0)
NEWEST = 2_000_000_000_000
"""Milliseconds since 1970. Every image was posted before."""

_A_STEP = 10_000
_PRAGMAS = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144", "foreign_keys = OFF")
_FILL = (
    "INSERT INTO images (id, guild_id, channel_id, message_id, attachment_id, source, author_id, state, content_hash,"
    " width, height) VALUES (?, ?, ?, ?, ?, 'attachment', ?, 'ready', ?, 640, 480)",
    "INSERT INTO embeddings (image_id, model_id, frame, guild_id, channel_id, embedding) VALUES (?, 1, 0, ?, ?, ?)",
    "INSERT INTO tags (image_id, rank, channel_id, key, label, probability) VALUES (?, ?, ?, ?, ?, ?)",
)


@cache
def database_of(images: int, *, channels: int = CHANNELS, threads: int = 0, servers: int = 1) -> Path:
    """The path of a migrated database with this many ready images, evenly over the channels and threads of each of
    its guilds. Shared, so callers remove what they add. Deleted when the process ends.

    About 2 KiB an image. Embeddings are random: nothing here depends on their values.
    """
    directory = Path(tempfile.mkdtemp(prefix="magpie-benchmark-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = directory / "magpie.sqlite3"
    with ThreadPoolExecutor(1) as thread:  # of its own, where no event loop runs
        thread.submit(asyncio.run, _create(path)).result()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    for guild in guilds_of(servers):
        connection.execute("INSERT INTO guilds (id) VALUES (?)", (guild,))
        connection.executemany(
            "INSERT INTO channels (id, guild_id, parent_id, thread) VALUES (?, ?, ?, ?)",
            [
                (id_, guild, parent, "public" if parent else "none")
                for id_, parent in places_of(channels, threads, guild)
            ],
        )
    _fill(connection, images, connection.execute("SELECT id, guild_id FROM channels ORDER BY id").fetchall())
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return path


async def _create(path: Path) -> None:
    async with await Database.open(path):
        pass


def guilds_of(servers: int) -> list[int]:
    return [GUILD + (at << 30) for at in range(servers)]


def places_of(channels: int = CHANNELS, threads: int = 0, guild: int = GUILD) -> list[tuple[int, int | None]]:
    """Channel or thread id, and the channel that a thread hangs under."""
    own = [(guild + 1 + at, None) for at in range(channels)]
    return [*own, *((guild + 1 + channels + at, guild + 1 + at % channels) for at in range(threads))]


def _fill(connection: sqlite3.Connection, images: int, places: Sequence[tuple[int, int]]) -> None:
    """places: channel and server."""
    model = (CARD.key, CARD.id, CARD.revision, CARD.preprocessing, CARD.dimension)
    connection.execute("INSERT INTO models VALUES (1, ?, ?, ?, ?, ?, 1)", model)
    # Rows come in the order of every index but this one, which is quicker made at the end.
    [[index]] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'ix_images_content_hash'")
    connection.execute("DROP INDEX ix_images_content_hash")
    for first in range(1, images + 1, _A_STEP):
        ids = range(first, min(first + _A_STEP, images + 1))
        for statement, rows in zip(_FILL, _rows(ids, images, places), strict=True):
            connection.executemany(statement, rows)
    connection.execute(index)


def _rows(ids: range, images: int, places: Sequence[tuple[int, int]]) -> Iterator[Iterator[tuple[object, ...]]]:
    where = {id_: places[id_ * 7919 % len(places)] for id_ in ids}
    yield (
        (id_, guild, channel, message_of(id_, images), message_of(id_, images) + 1, id_ % 5_000, hash_of(id_))
        for id_, (channel, guild) in where.items()
    )
    vectors = random_halves(len(ids), seed=ids.start)
    yield (
        (id_, guild, channel, vector.astype("<f2").tobytes())
        for (id_, (channel, guild)), vector in zip(where.items(), vectors, strict=True)
    )
    yield (
        (id_, rank, channel, *[f"label {(id_ + rank) % 300}"] * 2, 0.5 / (rank + 1))
        for id_, (channel, _) in where.items()
        for rank in range(TAGS)
    )


def message_of(image: int, images: int) -> int:
    """Snowflakes a second apart, the last one at NEWEST."""
    return (NEWEST - (images - image) * 1000 - DISCORD_EPOCH_MS) << 22


def hash_of(image: int) -> str:
    """As long and as scattered as a SHA-256."""
    return f"{image * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
