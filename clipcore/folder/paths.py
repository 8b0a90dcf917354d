"""Paths as the index keeps them: bytes, so that names which are no UTF-8 come through unharmed."""

from __future__ import annotations

import os
from pathlib import Path

from clipcore.errors import BadInput

SEPARATOR = os.fsencode(os.sep)
EVERYWHERE = b""
"""The root of all that is indexed, on whatever drives."""


def root_of(directory: str | Path) -> bytes:
    """The folder's one true path: indexing and searching must agree on it. Raises BadInput where it is no folder."""
    path = os.path.realpath(Path(directory).expanduser())
    if not Path(path).is_dir():
        raise BadInput(f"There is no folder {shown(os.fspath(directory))!r}; give one that exists.")
    return os.fsencode(path)


def span_below(root: bytes) -> tuple[bytes, bytes]:
    """The least key of what lies below, and the least key beyond it, in the order of bytes."""
    if root == EVERYWHERE:
        return b"", b"\xff"
    first = root if root.endswith(SEPARATOR) else root + SEPARATOR
    return first, first[:-1] + bytes([first[-1] + 1])


def path_of(key: bytes) -> Path:
    return Path(os.fsdecode(key))


def shown(name: str | bytes) -> str:
    """For people and for JSON: what is no UTF-8 becomes a replacement character."""
    return os.fsencode(name).decode("utf-8", errors="replace")
