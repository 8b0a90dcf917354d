"""What is remembered of a table's pictures while it is read, and the sources that come of it."""

from __future__ import annotations

import hashlib
from array import array
from functools import partial
from pathlib import Path
from typing import Protocol

from clipcore.dataset.files import PictureFinder
from clipcore.dataset.layout import without_caption_number
from clipcore.dataset.lazy import Lazy
from clipcore.dataset.picture_field import canonical, decode_field
from clipcore.errors import BadInput
from clipcore.features import PictureSource


class KeptPictures(Protocol):
    def keep(self, field: bytes, row: int, start: int) -> int:
        """field: the picture's, which begins at byte `start` of the file. Returns the picture's place among those kept.
        Raises BadInput where it is none.
        """
        ...

    def sources(self) -> Lazy[PictureSource]: ...


class PicturesInFields:
    """Pictures that are base64 fields of the table: 24 bytes each, and a hash while reading where they are merged."""

    def __init__(self, path: Path, *, merge: bool) -> None:
        self._path = path
        self._merge = merge
        self._rows, self._starts, self._lengths = array("q"), array("q"), array("q")
        self._seen: dict[bytes, int] = {}

    def keep(self, field: bytes, row: int, start: int) -> int:
        core = canonical(field)
        if core is None:
            raise BadInput("Its picture is not base64.")
        new = len(self._rows)
        if self._merge:
            known = self._seen.setdefault(hashlib.blake2b(core, digest_size=16).digest(), new)
            if known < new:
                return known
        self._rows.append(row)
        self._starts.append(start)
        self._lengths.append(len(field))
        return new

    def sources(self) -> Lazy[PictureSource]:
        self._seen.clear()
        return Lazy(len(self._rows), self._source)

    def _source(self, at: int) -> PictureSource:
        read = partial(_read_field, self._path, self._starts[at], self._lengths[at])
        return PictureSource(f"row {self._rows[at]}", read)


class PicturesInFiles:
    """Pictures that the table names; see `PictureFinder`."""

    def __init__(self, folder: Path, *, merge: bool) -> None:
        self._finder = PictureFinder(folder)
        self._merge = merge
        self._paths: list[Path] = []
        self._seen: dict[str, int] = {}

    def keep(self, field: bytes, row: int, start: int) -> int:
        name = without_caption_number(field.decode(errors="replace").strip())
        if self._merge and name in self._seen:
            return self._seen[name]
        self._paths.append(self._finder.find(name))
        return self._seen.setdefault(name, len(self._paths) - 1) if self._merge else len(self._paths) - 1

    def sources(self) -> Lazy[PictureSource]:
        paths = self._paths
        return Lazy(len(paths), lambda at: PictureSource.file(paths[at]))


def _read_field(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return decode_field(file.read(length))
