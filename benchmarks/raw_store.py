"""SQLite by itself, doing what the store does with the same rows in transactions of the same size: the limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bot.store.database import PRAGMAS
from bot.store.pictures import Finished
from bot.store.rows import chunks, to_blob

_READ = "SELECT picture_id, channel_id, vector FROM vectors WHERE model_id = 1 AND guild_id = ? ORDER BY picture_id"
_PENDING = "SELECT id, guild_id, channel_id, reread FROM pictures WHERE state = 'pending' AND id IN ({})"
_READY = (
    "UPDATE pictures SET state = 'ready', attempts = 0, next_attempt = NULL, reason = NULL, content_hash = ?,"
    " width = ?, height = ? WHERE id = ?"
)


def open_raw(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def finish_raw(connection: sqlite3.Connection, pictures: Sequence[Finished], batch: int) -> None:
    for some in chunks(pictures, batch):
        connection.execute("BEGIN IMMEDIATE")
        marks = ", ".join("?" * len(some))
        waiting = connection.execute(_PENDING.format(marks), [one.picture_id for one in some]).fetchall()
        connection.executemany(_READY, [(one.content_hash, one.width, one.height, one.picture_id) for one in some])
        blobs = {one.picture_id: to_blob(one.vector) for one in some}
        connection.executemany(
            "INSERT INTO vectors VALUES (?, 1, ?, ?, ?)",
            [(id_, guild_id, channel_id, blobs[id_]) for id_, guild_id, channel_id, _ in waiting],
        )
        connection.executemany(
            "INSERT INTO tags VALUES (?, ?, ?, ?)",
            [(one.picture_id, rank, tag.label, tag.probability) for one in some for rank, tag in enumerate(one.tags)],
        )
        connection.execute("COMMIT")


def read_raw(path: Path, guild_id: int, dimension: int, rows: int) -> npt.NDArray[np.float16]:
    """float16 [rows, dimension]: a server's vectors in one matrix."""
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
