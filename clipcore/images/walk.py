"""Finds the image files below a folder, in the order of the bytes of their paths, in constant memory."""

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

# Folders full of previews, bins and parcels that nobody means by "my images".
NEVER = ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "node_modules", "__pycache__")
# Images in formats that are not read: worth a word, since people wonder where theirs are.
_UNSUPPORTED = frozenset(
    {".heic", ".heif", ".jp2", ".jxl", ".svg", ".psd", ".ico", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".raw", ".dng", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2"}
).difference(SUFFIXES)


@dataclass(frozen=True, slots=True)
class WalkFilter:
    """What a walk leaves out. hidden: whether names with a leading dot are visited. exclude: names or patterns such
    as `cache*`, of folders and files, beside those that are never visited."""

    hidden: bool = False
    exclude: tuple[str, ...] = ()

    def includes(self, name: bytes) -> bool:
        if not self.hidden and name.startswith(b"."):
            return False
        return not _fits(name, (*NEVER, *self.exclude))

    def visits(self, path: bytes, root: bytes) -> bool:
        """Whether a walk from the root would come to this file."""
        return all(map(self.includes, filter(None, path[len(root) :].split(SEPARATOR))))

    def excludes(self, path: bytes, root: bytes) -> bool:
        """Whether a name on the way from the root to this file is one of `exclude`."""
        return bool(self.exclude) and any(_fits(name, self.exclude) for name in path[len(root) :].split(SEPARATOR))


def _fits(name: bytes, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(os.fsdecode(name), pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that is called like an image. size in bytes and mtime_ns are those of what a link leads to."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder that cannot be listed, its path ending with the separator, or a file that cannot be read."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class UnsupportedFormat:
    """An image in a format that is not read. suffix: lower case, with its dot."""

    path: bytes
    suffix: str


WalkEntry = ImageFile | Unreadable | UnsupportedFormat


def walk(root: bytes, filter_: WalkFilter | None = None) -> Iterator[WalkEntry]:
    """Yields the image files below a folder, and what prevents reading others.

    Follows links to files but not to folders, so that nothing is visited twice and no cycle can form. Entries come in
    the order of their paths' bytes, to be merged with sorted rows. Memory: the names in one folder and its parents.
    """
    filter_ = filter_ or WalkFilter()
    first = root if root.endswith(SEPARATOR) else root + SEPARATOR
    waiting = [_listing(first, filter_)]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif isinstance(entry, Unreadable):
            yield entry
        elif entry.is_dir(follow_symlinks=False):
            waiting.append(_listing(entry.path + SEPARATOR, filter_))
        elif (found := _look(entry)) is not None:
            yield found


def _listing(folder: bytes, filter_: WalkFilter) -> Iterator[os.DirEntry[bytes] | Unreadable]:
    try:
        with os.scandir(folder) as entries:
            wanted = [entry for entry in entries if filter_.includes(entry.name)]
    except FileNotFoundError:
        return  # removed since its parent was listed
    except OSError as error:
        yield Unreadable(folder, f"The folder cannot be listed: {error.strerror}.")
        return
    yield from sorted(wanted, key=_order)


def _order(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name + SEPARATOR if entry.is_dir(follow_symlinks=False) else entry.name


def _look(entry: os.DirEntry[bytes]) -> WalkEntry | None:
    suffix = os.path.splitext(os.fsdecode(entry.name))[1].lower()  # noqa: PTH122 - a name, not a path to wrap
    if suffix in _UNSUPPORTED:
        return UnsupportedFormat(entry.path, suffix)
    if suffix not in SUFFIXES:
        return None
    try:
        if not entry.is_file():
            check_regular(Path(os.fsdecode(entry.path)))  # raises for a broken link, a pipe and a device
            return None  # a link to a folder
        try:
            status = entry.stat()
        except FileNotFoundError:
            return None  # removed since its folder was listed
    except OSError as error:
        return Unreadable(entry.path, f"It cannot be read: {error.strerror}.")
    return ImageFile(entry.path, status.st_size, status.st_mtime_ns)


def image_files(folder: Path) -> list[Path]:
    """Lists the image files at any depth below the folder, as `walk` finds them; broken links are included and fail
    when they are read. Raises BadInput where a folder cannot be listed, since the result would be incomplete.
    """
    files: list[Path] = []
    for entry in walk(os.fsencode(folder)):
        if isinstance(entry, Unreadable) and entry.path.endswith(SEPARATOR):
            raise BadInput(f"{os.fsdecode(entry.path)!r} cannot be read: {entry.reason}")
        if not isinstance(entry, UnsupportedFormat):
            files.append(Path(os.fsdecode(entry.path)))
    return files
