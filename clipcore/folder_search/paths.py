"""Paths as the index stores them (bytes, absolute, links resolved), and as people read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.images.walk import WalkFilter

EVERYWHERE = b""
"""The root of everything that is indexed, on all drives."""


def root_of(directory: str | Path) -> bytes:
    """Returns a folder's path as the index stores it. Raises BadInput where it is not a folder."""
    root = true_path(directory)
    if not os.path.isdir(root):  # noqa: PTH112 - bytes
        raise BadInput(f"There is no folder {shown(os.fspath(directory))!r}; give one that exists.")
    return root


def true_path(path: str | Path) -> bytes:
    """Resolves links, dots and `~`; the path need not exist."""
    return os.fsencode(os.path.realpath(from_home(path)))


def from_home(path: str | Path) -> Path:
    """Expands `~`; where there is no such user, it is taken for the name of a file."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises for unknown users


def is_file(path: bytes | Path) -> bool:
    """False where the path may not be accessed, where pathlib's own raises."""
    return os.path.isfile(path)  # noqa: PTH113


def span_below(root: bytes) -> tuple[bytes, bytes]:
    """The range of paths below the root, in the order of bytes: the first, and the first beyond."""
    if root == EVERYWHERE:
        return b"", b"\xff"
    first = os.path.join(root, b"")  # noqa: PTH118 - bytes
    return first, first[:-1] + bytes([first[-1] + 1])


def path_of(key: bytes) -> Path:
    return Path(os.fsdecode(key))


def shown(name: str | bytes) -> str:
    """For people and for JSON: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def visible(name: str | bytes) -> str:
    """In one line, for a terminal or a drawing: control characters and line breaks become visible symbols."""
    return shown(name).translate(_SIGNS)


# Unicode's control pictures; it has none for the C1 controls and the separators.
_SIGNS = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\N{SYMBOL FOR DELETE}"}
_SIGNS |= dict.fromkeys((*range(0x80, 0xA0), 0x2028, 0x2029), "\N{REPLACEMENT CHARACTER}")


def distinct(roots: Iterable[bytes], filter_: WalkFilter) -> list[bytes]:
    """Drops repeated roots, and roots that the walk of another one visits."""
    once = list(dict.fromkeys(roots))
    return [root for root in once if not any(_passes(other, root, filter_) for other in once if other != root)]


def _passes(outer: bytes, root: bytes, filter_: WalkFilter) -> bool:
    return root.startswith(os.path.join(outer, b"")) and filter_.visits(root, outer)  # noqa: PTH118 - bytes
