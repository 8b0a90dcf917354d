"""The upper bound: sqlite3 alone, with the same rows as the store and transactions of the same size."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bot.store.images import Finished
from bot.store.sqlite import PRAGMAS
from clipcore.batching import batches_of

_READ = "SELECT image_id, channel_id, embedding FROM embeddings WHERE model_id = 1 AND guild_id = ? ORDER BY image_id"
_PENDING = "SELECT id, guild_id, channel_id, reread FROM images WHERE state = 'pending' AND id IN ({})"
_READY = (
    "UPDATE images SET state = 'ready', attempts = 0, next_attempt = NULL, reason = NULL, content_hash = ?,"
    " width = ?, height = ? WHERE id = ?"
)


def open_raw(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def finish_raw(connection: sqlite3.Connection, images: Sequence[Finished], batch: int) -> None:
    for some in batches_of(images, batch):
        connection.execute("BEGIN IMMEDIATE")
        marks = ", ".join("?" * len(some))
        waiting = connection.execute(_PENDING.format(marks), [one.image_id for one in some]).fetchall()
        connection.executemany(_READY, [(one.content_hash, one.width, one.height, one.image_id) for one in some])
        blobs = {one.image_id: one.embedding.astype("<f2").tobytes() for one in some}
        channels = {id_: channel_id for id_, _, channel_id, _ in waiting}
        connection.executemany(
            "INSERT INTO embeddings (image_id, model_id, frame, guild_id, channel_id, embedding)"
            " VALUES (?, 1, 0, ?, ?, ?)",
            [(id_, guild_id, channel_id, blobs[id_]) for id_, guild_id, channel_id, _ in waiting],
        )
        connection.executemany(
            "INSERT INTO tags (image_id, rank, channel_id, key, label, probability) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (one.image_id, rank, channels[one.image_id], tag.label, tag.label, tag.probability)
                for one in some
                for rank, tag in enumerate(one.tags)
            ],
        )
        connection.execute("COMMIT")


def read_raw(path: Path, guild_id: int, dimension: int, rows: int) -> npt.NDArray[np.float16]:
    """float16 [rows, dimension]: a guild's embeddings in one matrix."""
    matrix = np.empty((rows, dimension), np.float16)
    connection = open_raw(path)
    cursor = connection.execute(_READ, (guild_id,))
    filled = 0
    while some := cursor.fetchmany(1024):
        part = np.frombuffer(b"".join(row[2] for row in some), "<f2")
        matrix[filled : filled + len(some)] = part.reshape(len(some), dimension)
        filled += len(some)
    connection.close()
    return matrix
