"""What a bad disk does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def flip_a_byte(path: Path, image_id: int, *, frame: int = 0, byte: int = 5, with_checksum: bool = True) -> None:
    """In the embedding of an image. with_checksum: False for a row of an earlier version, which becomes infinite."""
    with closing(sqlite3.connect(path)) as connection, connection:
        this = "WHERE image_id = ? AND frame = ?"
        [[stored]] = connection.execute(f"SELECT embedding FROM embeddings {this}", [image_id, frame])  # noqa: S608
        changed = bytearray(stored)
        changed[byte] ^= 0x10
        values: dict[str, object] = {"embedding": bytes(changed)}
        if not with_checksum:
            changed[0:2] = b"\x00\x7c"
            values = {"embedding": bytes(changed), "checksum": None}
        assignments = ", ".join(f"{name} = ?" for name in values)
        connection.execute(f"UPDATE embeddings SET {assignments} {this}", [*values.values(), image_id, frame])  # noqa: S608


def damage_a_page(path: Path, table: str) -> None:
    """The first page of a table, of a database that nobody has open."""
    with closing(sqlite3.connect(path)) as connection:
        [[page]] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table])
        [[size]] = connection.execute("PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
