"""The SQLite index of folder search."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from clipcore.errors import ClipError
from clipcore.folder_search.paths import span_below
from clipcore.images.walk import ImageFile
from clipcore.types import Vectors

StoredVectors = npt.NDArray[np.float16]

_ROWS_AT_ONCE = 4096
_STORED = np.dtype("<f2")


class IndexUnusable(ClipError):
    """The index file is broken, another program's, newer than this program, in use, or cannot be written."""


class State(StrEnum):
    """What a file's bytes are. SHEET: a contact sheet of ours, which no search should find."""

    IMAGE = "picture"  # the value that existing index files store and their CHECK constraint demands
    BROKEN = "broken"
    SHEET = "sheet"


@dataclass(frozen=True, slots=True)
class Content:
    """hash: SHA-256 of the bytes. width, height: pixels after the EXIF rotation, 0 where it is not an image.
    reason: why it is broken. vector: float32 [dim], unit length, of images alone."""

    hash: bytes
    state: State
    reason: str = ""
    width: int = 0
    height: int = 0
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class KnownFile:
    """file: as it was when last indexed. complete: whether nothing is left to read or encode for the model.
    broken: why it is not an image; empty where it is one."""

    file: ImageFile
    complete: bool
    broken: str = ""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An indexed file and its content, as in Content."""

    path: bytes
    size: int
    hash: bytes
    width: int
    height: int


class FolderStore:
    """One connection, for any thread. Every method may raise IndexUnusable.

    `model` is everywhere a ModelCard's key: vectors of different models never meet. `root` is a folder's key as
    `root_of` makes it; only what lies below it is touched.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect(path)
        self._lock = threading.Lock()

    def __enter__(self) -> FolderStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def known_files(self, root: bytes, model: str) -> Iterator[KnownFile]:
        """In the order of the paths' bytes. Read in pages, so that writing between them is allowed."""
        first, beyond = span_below(root)
        while page := self._rows(_KNOWN_FILES, (model, first, beyond, _ROWS_AT_ONCE)):
            for path, size, mtime_ns, complete, broken in page:
                yield KnownFile(ImageFile(path, size, mtime_ns), bool(complete), broken)
            first = page[-1][0] + b"\0"

    def settled(self, content_hash: bytes, model: str) -> bool:
        """Whether these bytes are encoded by this model, or known not to be an image."""
        found = self._rows(_FIND_CONTENT, (content_hash,))
        return bool(found) and (found[0][1] != State.IMAGE or self.vector_of(content_hash, model) is not None)

    def write(
        self, model: str, contents: Sequence[Content], files: Iterable[tuple[ImageFile, bytes]], gone: Iterable[bytes]
    ) -> dict[bytes, tuple[State, str]]:
        """One transaction. files: with the hashes of their contents. gone: paths of files to delete. Returns what each
        file's content is, with the reason where it is broken, by the file's path; a file whose content is unknown is
        not written, and is missing from the result.
        """
        written = {}
        with self._transaction() as execute:
            for content in contents:
                execute(_PUT_CONTENT, (content.hash, content.state, content.reason, content.width, content.height))
                if content.vector is not None:
                    execute("INSERT OR IGNORE INTO models (key, dimension) VALUES (?, ?)", (model, content.vector.size))
                    execute(_PUT_VECTOR, (np.asarray(content.vector, _STORED).tobytes(), model, content.hash))
            for path in gone:
                execute("DELETE FROM files WHERE path = ?", (path,))
            for file, content_hash in files:
                if found := execute(_FIND_CONTENT, (content_hash,)).fetchone():
                    content_id, state, reason = found
                    execute(_PUT_FILE, (file.path, file.size, file.mtime_ns, content_id))
                    written[file.path] = State(state), reason
        return written

    def prune(self) -> None:
        """Deletes contents that no file has any more, with their vectors."""
        with self._transaction() as execute:
            execute("DELETE FROM contents WHERE id NOT IN (SELECT content FROM files)")

    def forget_below(self, root: bytes) -> int:
        """Returns how many files were forgotten."""
        with self._transaction() as execute:
            forgotten = execute("DELETE FROM files WHERE path >= ? AND path < ?", span_below(root))
        self.prune()
        return forgotten.rowcount

    def count_images(self, root: bytes) -> Counter[str]:
        """How many files below a folder each model has encoded, by the model's key."""
        return Counter(dict(self._rows(_COUNT_IMAGES, span_below(root))))

    def vectors_below(self, root: bytes, model: str) -> Iterator[tuple[list[int], StoredVectors]]:
        """Each content once: ids, and float16 [n, dim] beside them, some thousands at a time."""
        with plain_errors(self.path):
            cursor = self._connection.execute(_VECTORS_BELOW, (model, *span_below(root)))
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                yield [content for content, _ in rows], _matrix([vector for _, vector in rows])

    def vector_of(self, content_hash: bytes, model: str) -> Vectors | None:
        """float32 [dim]; None where this model has not encoded these bytes."""
        rows = self._rows(_VECTOR_OF, (content_hash, model))
        return _matrix([rows[0][0]])[0].astype(np.float32) if rows else None

    def files_of(self, content: int, root: bytes) -> list[StoredFile]:
        """The files below the root with this content, in the order of their paths."""
        return [StoredFile(*row) for row in self._rows(_FILES_OF, (content, *span_below(root)))]

    def _rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with plain_errors(self.path), self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """All or nothing. IMMEDIATE: a writer waits for others at the beginning, never in the middle."""
        with plain_errors(self.path), self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.execute


def default_location() -> Path:
    return platformdirs.user_cache_path("clipcore") / "folders.sqlite3"


# Written into every contact sheet, so that sheets are not indexed.
SHEET_MARK = "clipcore contact sheet"
_HEAD = 1024  # PNG writes its texts and JPEG its comment before any pixel


def hash_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def is_own_sheet(data: bytes) -> bool:
    return SHEET_MARK.encode() in data[:_HEAD]


def connect(path: Path) -> sqlite3.Connection:
    """Makes the file where there is none. Raises IndexUnusable, also where it is not ours, or newer."""
    with plain_errors(path):
        with suppress(OSError):  # what is wrong with the folder, SQLite says next
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # One statement sees one moment; between two, another process could be making the tables.
            [(used, version, application)] = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema), user_version, application_id"
                " FROM pragma_user_version, pragma_application_id"
            )
            if used and application != APPLICATION:
                raise IndexUnusable(f"{path} is another program's database; name another file with CLIPCORE_INDEX.")
            if version > VERSION:
                raise IndexUnusable(
                    f"The index {path} was written by a newer clipcore; update this one, or name another file with "
                    "CLIPCORE_INDEX."
                )
            if version == 0:
                connection.executescript(_SCHEMA)
            # With a write-ahead log, NORMAL may lose the last commits when the power fails, and never the file.
            connection.executescript("PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turns errors that a person can mend into IndexUnusable; others, such as wrong SQL, pass through."""
    try:
        yield
    except sqlite3.Error as error:
        sentence = _SENTENCES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if sentence is None:
            raise
        raise IndexUnusable(sentence.format(path=path)) from error


_BROKEN = "The index {path} is broken; delete it and run `clipcore index` again."
_UNREACHABLE = "The index {path} cannot be opened and written here; name another file with CLIPCORE_INDEX."
_IN_USE = "The index {path} is in use by another program; try again when that has ended."
_SENTENCES = {
    sqlite3.SQLITE_NOTADB: _BROKEN,
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_FULL: "The disk is full, so the index {path} cannot grow; make room and run the same command again.",
    sqlite3.SQLITE_CANTOPEN: _UNREACHABLE,
    sqlite3.SQLITE_READONLY: _UNREACHABLE,
    sqlite3.SQLITE_PERM: _UNREACHABLE,
    sqlite3.SQLITE_IOERR: _UNREACHABLE,
}


def _matrix(blobs: list[bytes]) -> StoredVectors:
    return np.frombuffer(b"".join(blobs), _STORED).reshape(len(blobs), -1)


VERSION = 1
BUSY_SECONDS = 30.0
# Identifies our files among other SQLite files (PRAGMA application_id); "Mgpi" in ASCII.
APPLICATION = 0x4D677069

# contents: one row for all copies of a file. vectors: float16, little-endian, unit length, one for each content and
# model. files: paths as bytes, because a name need not be UTF-8. IF NOT EXISTS: another process may be quicker.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL CHECK (dimension > 0)
) STRICT;
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    state TEXT NOT NULL CHECK (state IN ('picture', 'broken', 'sheet')),
    reason TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES models (id),
    content INTEGER NOT NULL REFERENCES contents (id) ON DELETE CASCADE,
    vector BLOB NOT NULL,
    UNIQUE (content, model)
) STRICT;
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents (id)
) STRICT;
CREATE INDEX IF NOT EXISTS files_content ON files (content);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
COMMIT;
"""
_KNOWN_FILES = """
SELECT f.path, f.size, f.mtime_ns, c.state <> 'picture' OR v.id IS NOT NULL, c.reason
FROM files f
JOIN contents c ON c.id = f.content
LEFT JOIN vectors v ON v.content = c.id AND v.model = (SELECT id FROM models WHERE key = ?)
WHERE f.path >= ? AND f.path < ? ORDER BY f.path LIMIT ?
"""
_COUNT_IMAGES = """
SELECT m.key, count(*)
FROM files f JOIN vectors v ON v.content = f.content JOIN models m ON m.id = v.model
WHERE f.path >= ? AND f.path < ? GROUP BY m.key
"""
_VECTORS_BELOW = """
SELECT v.content, v.vector FROM vectors v
WHERE v.model = (SELECT id FROM models WHERE key = ?)
AND v.content IN (SELECT content FROM files WHERE path >= ? AND path < ?)
ORDER BY v.content
"""
_VECTOR_OF = """
SELECT v.vector FROM vectors v
JOIN contents c ON c.id = v.content JOIN models m ON m.id = v.model
WHERE c.hash = ? AND m.key = ?
"""
_FILES_OF = """
SELECT f.path, f.size, c.hash, c.width, c.height
FROM files f JOIN contents c ON c.id = f.content
WHERE f.content = ? AND f.path >= ? AND f.path < ? ORDER BY f.path
"""
_FIND_CONTENT = "SELECT id, state, reason FROM contents WHERE hash = ?"
# Another run may have written the same content; the last one wins.
_PUT_CONTENT = """
INSERT INTO contents (hash, state, reason, width, height) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (hash) DO UPDATE SET state = excluded.state, reason = excluded.reason,
    width = excluded.width, height = excluded.height
"""
_PUT_VECTOR = """
INSERT INTO vectors (vector, model, content)
VALUES (?, (SELECT id FROM models WHERE key = ?), (SELECT id FROM contents WHERE hash = ?))
ON CONFLICT (content, model) DO UPDATE SET vector = excluded.vector
"""
_PUT_FILE = """
INSERT INTO files (path, size, mtime_ns, content) VALUES (?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, content = excluded.content
"""
