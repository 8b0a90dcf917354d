"""Everything below a folder that could be an image, in the order of the paths' bytes, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from clipcore.errors import BadInput
from clipcore.files import check_regular
from clipcore.images.formats import SUFFIXES

SEPARATOR = os.fsencode(os.sep)
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


# Folders full of previews, bins and parcels that nobody means by "my images".
NEVER = ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "node_modules", "__pycache__")
# Images in formats that are not read: worth a word, since people wonder where theirs are.
_FOREIGN = frozenset(
    {".heic", ".heif", ".jp2", ".jxl", ".svg", ".psd", ".ico", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".raw", ".dng", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2"}
)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a walk leaves out. hidden: whether names with a leading dot are visited. exclude: names or patterns such
    as `cache*`, of folders and files, beside those that are never visited."""

    hidden: bool = False
    exclude: tuple[str, ...] = ()

    def includes(self, name: bytes) -> bool:
        if not self.hidden and name.startswith(b"."):
            return False
        return not _fits(name, (*NEVER, *self.exclude))

    def excludes(self, path: bytes, root: bytes) -> bool:
        """Whether a name on the way from the root to this file is one of `exclude`."""
        return bool(self.exclude) and any(_fits(name, self.exclude) for name in path[len(root) :].split(SEPARATOR))


def distinct(roots: Iterable[bytes], reach: Reach) -> list[bytes]:
    """Each once, and none that the walk of another comes through."""
    once = list(dict.fromkeys(roots))
    return [root for root in once if not any(_passes(other, root, reach) for other in once if other != root)]


def _passes(outer: bytes, root: bytes, reach: Reach) -> bool:
    first = outer if outer.endswith(SEPARATOR) else outer + SEPARATOR
    return root.startswith(first) and all(map(reach.includes, root[len(first) :].split(SEPARATOR)))


def _fits(name: bytes, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(os.fsdecode(name), pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file that is called like an image. size in bytes and mtime_ns are those of what a link leads to."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A folder that cannot be listed, its path ending with the separator, or a file that cannot be looked at."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """An image in a format that is not read. suffix: lower case, with its dot."""

    path: bytes
    suffix: str


Sight = SeenFile | Unreachable | Foreign


def walk(root: bytes, reach: Reach | None = None) -> Iterator[Sight]:
    """Links to files are followed, links to folders are not: nothing is met twice, and no circle can form.

    The order is that of the bytes of the whole paths, so what is met can be compared with sorted rows as it comes.
    Memory: the names of one folder, and of those around it.
    """
    reach = reach or Reach()
    first = root if root.endswith(SEPARATOR) else root + SEPARATOR
    waiting = [_listing(first, reach)]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif isinstance(entry, Unreachable):
            yield entry
        elif entry.is_dir(follow_symlinks=False):
            waiting.append(_listing(entry.path + SEPARATOR, reach))
        elif (sight := _look(entry)) is not None:
            yield sight


def _listing(folder: bytes, reach: Reach) -> Iterator[os.DirEntry[bytes] | Unreachable]:
    try:
        with os.scandir(folder) as entries:
            wanted = [entry for entry in entries if reach.includes(entry.name)]
    except FileNotFoundError:
        return  # removed since its parent was listed
    except OSError as error:
        yield Unreachable(folder, f"The folder cannot be listed: {error.strerror}.")
        return
    yield from sorted(wanted, key=_order)


def _order(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name + SEPARATOR if entry.is_dir(follow_symlinks=False) else entry.name


def _look(entry: os.DirEntry[bytes]) -> Sight | None:
    suffix = os.path.splitext(os.fsdecode(entry.name))[1].lower()  # noqa: PTH122 - a name, not a path to wrap
    if suffix in _FOREIGN:
        return Foreign(entry.path, suffix)
    if suffix not in SUFFIXES:
        return None
    try:
        if not entry.is_file():
            return _no_file(entry)
        status = entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unreachable(entry.path, f"It cannot be looked at: {error.strerror}.")
    return SeenFile(entry.path, status.st_size, status.st_mtime_ns)


def _no_file(entry: os.DirEntry[bytes]) -> Unreachable | None:
    """Links to folders are passed over; what else is no file is worth a word."""
    try:
        check_regular(path_of(entry.path))
    except OSError as error:
        return Unreachable(entry.path, f"It cannot be read: {error.strerror}.")
    return None
