"""What the index keeps of files and of their contents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from clipcore.types import Vectors


class State(StrEnum):
    """What some bytes turned out to be. sheet: a contact sheet that we drew ourselves, which no search should find."""

    PICTURE = "picture"
    BROKEN = "broken"
    SHEET = "sheet"


# How a contact sheet says that it is one, so that no sheet ever finds itself.
SHEET_MARK = "clipcore contact sheet"
_HEAD = 1024  # PNG writes its texts and JPEG its comment before any pixel


@dataclass(frozen=True, slots=True)
class Content:
    """hash: SHA-256 of the bytes. width, height: pixels after the EXIF turn, 0 where it is no picture.
    reason: why it is broken. vector: float32 [dim], unit length, of pictures alone."""

    hash: bytes
    state: State
    reason: str = ""
    width: int = 0
    height: int = 0
    vector: Vectors | None = None


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file whose content is known by its hash. size in bytes, mtime_ns as the file system gave them."""

    path: bytes
    size: int
    mtime_ns: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A remembered file with what is known of its content. content: the id that vectors are found under."""

    path: bytes
    size: int
    content: int
    hash: bytes
    width: int
    height: int


def hash_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def is_own_sheet(data: bytes) -> bool:
    return SHEET_MARK.encode() in data[:_HEAD]
