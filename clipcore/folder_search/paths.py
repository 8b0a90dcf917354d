"""Paths as the index stores them (bytes, absolute, without links), and as people read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.images.walk import SEPARATOR, WalkFilter

EVERYWHERE = b""
"""The root of all that is indexed, on whatever drives."""


def root_of(directory: str | Path) -> bytes:
    """The folder's one true path: indexing and searching must agree on it. Raises BadInput where it is no folder."""
    root = true_path(directory)
    if not os.path.isdir(root):  # noqa: PTH112 - bytes
        raise BadInput(f"There is no folder {shown(os.fspath(directory))!r}; give one that exists.")
    return root


def true_path(path: str | Path) -> bytes:
    """Without links and dots, whether it exists or not."""
    return os.fsencode(os.path.realpath(from_home(path)))


def from_home(path: str | Path) -> Path:
    """`~` is the home; where there is no such user, a file may be called so."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises for unknown users


def is_file(path: bytes | Path) -> bool:
    """Of what nobody may look at, too, where pathlib's own raises."""
    return os.path.isfile(path)  # noqa: PTH113


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


def visible(name: str | bytes) -> str:
    """In one line, for a terminal or a drawing: what would break the line or steer the terminal gets a sign."""
    return shown(name).translate(_SIGNS)


# Unicode's control images; of the C1 controls and the separators there are none.
_SIGNS = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\N{SYMBOL FOR DELETE}"}
_SIGNS |= dict.fromkeys((*range(0x80, 0xA0), 0x2028, 0x2029), "\N{REPLACEMENT CHARACTER}")


def distinct(roots: Iterable[bytes], filter_: WalkFilter) -> list[bytes]:
    """Each once, and none that the walk of another comes through."""
    once = list(dict.fromkeys(roots))
    return [root for root in once if not any(_passes(other, root, filter_) for other in once if other != root)]


def _passes(outer: bytes, root: bytes, filter_: WalkFilter) -> bool:
    first = outer if outer.endswith(SEPARATOR) else outer + SEPARATOR
    return root.startswith(first) and all(map(filter_.includes, root[len(first) :].split(SEPARATOR)))
