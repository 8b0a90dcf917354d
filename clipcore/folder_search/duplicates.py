"""Finds groups of files with the same content, and of near-duplicate images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from clipcore.folder_search.paths import path_of
from clipcore.folder_search.store import FolderStore, StoredFile
from clipcore.images.walk import ImageFile, WalkFilter, walk
from clipcore.types import Calibration, Vectors

# Cosines held at a time: 64 MB of float32.
_MAX_COSINES = 16_000_000


@dataclass(frozen=True, slots=True)
class Copy:
    """cosine: with the group's first. links: other names of the same file, which take no space of their own."""

    file: StoredFile
    cosine: float
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """kind: "identical" if all have the same bytes. copies: at least two; the first has the most pixels, and
    each of the others resembles it."""

    kind: Literal["identical", "alike"]
    copies: tuple[Copy, ...]

    def relation(self, copy: Copy) -> Literal["first", "identical", "alike"]:
        """How the copy relates to the first."""
        first = self.copies[0]
        if copy is first:
            return "first"
        return "identical" if copy.file.hash == first.file.hash else "alike"

    @property
    def spare_bytes(self) -> int:
        """How many bytes deleting all but the first would free."""
        return sum(copy.file.size for copy in self.copies[1:])


Track = Callable[[range], Iterable[int]]


def near_threshold(calibration: Calibration) -> float:
    """Four fifths of the way from the model's image threshold to 1. Resized and recompressed copies lie above it, other
    images of the same thing below; the tests measure this.
    """
    return 1 - (1 - calibration.image_threshold) / 5


def find_duplicates(
    store: FolderStore, root: bytes, model_key: str, *, min_score: float, track: Track = iter
) -> list[Group]:
    """Returns the groups that would free the most bytes first.

    min_score: the cosine from which two images are alike. track: wraps the blocks of comparisons, for a progress bar.
    """
    several = set(store.copied_contents(root))
    everything = _alike(store, root, model_key, min_score, track)
    found = [members for members in everything if len(members) > 1 or members[0][0] in several]
    return _sorted(_group(_files(store, root, members)) for members in found)


def find_identical(root: bytes, filter_: WalkFilter | None = None) -> list[Group]:
    """Returns groups of identical files, without a model or an index. Reads only files of equal size, and leaves out
    those that cannot be read.
    """
    by_size: dict[int, list[bytes]] = {}
    for entry in walk(root, filter_):
        if isinstance(entry, ImageFile) and entry.size:
            by_size.setdefault(entry.size, []).append(entry.path)
    same = (files for size, paths in by_size.items() if len(paths) > 1 for files in _by_content(paths, size))
    return _sorted(_group([(file, 1.0) for file in files]) for files in same)


def clusters(vectors: npt.NDArray[np.floating], min_score: float, track: Track = iter) -> list[list[tuple[int, float]]]:
    """Groups rows of unit length, the preferred ones first. Returns each group, even of one row, as pairs of a row and
    its cosine with the group's first.

    Each row joins the first earlier one that it resembles and that leads a group. So every row resembles its group's
    first, and no chains form. Memory: one block of cosines.
    """
    count = len(vectors)
    leader = np.full(count, -1, np.int64)
    cosine = np.ones(count, np.float32)
    step = max(1, min(1024, _MAX_COSINES // max(count, 1)))
    for start in track(range(0, count, step)):
        block = np.asarray(vectors[start : start + step], np.float32)
        cosines = _cosines(block, vectors[start:])
        for row in range(len(block)):
            if leader[start + row] < 0:
                _lead(start + row, start, cosines[row], min_score, leader, cosine)
    groups: dict[int, list[tuple[int, float]]] = {}
    for row in range(count):
        groups.setdefault(int(leader[row]), []).append((row, float(cosine[row])))
    return list(groups.values())


def _lead(
    row: int, start: int, cosines: Vectors, min_score: float, leader: npt.NDArray[np.int64], cosine: Vectors
) -> None:
    """Adds every later row without a group that resembles this one. cosines: with the rows from `start` on."""
    leader[row] = row
    after = slice(row + 1, None)
    near = np.flatnonzero((cosines[row + 1 - start :] >= min_score) & (leader[after] < 0)) + row + 1
    leader[near] = row
    cosine[near] = np.minimum(cosines[near - start], 1)


def _cosines(block: Vectors, vectors: npt.NDArray[np.floating]) -> Vectors:
    """float32 [block, vectors], a few thousand columns converted at a time."""
    out = np.empty((len(block), len(vectors)), np.float32)
    for start in range(0, len(vectors), 4096):
        some = slice(start, start + 4096)
        out[:, some] = block @ np.asarray(vectors[some], np.float32).T
    return out


def _alike(
    store: FolderStore, root: bytes, model_key: str, min_score: float, track: Track
) -> Iterator[list[tuple[int, float]]]:
    pages = list(store.vectors_below(root, model_key))
    if not pages:
        return
    ids = np.array([content for contents, _ in pages for content in contents], np.int64)
    sizes = store.sizes_below(root)
    pixels = np.array([sizes[content] for content in ids.tolist()], np.int64)
    order = np.lexsort((ids, -pixels))
    vectors = np.concatenate([vectors for _, vectors in pages])[order]
    for members in clusters(vectors, min_score, track):
        yield [(int(ids[order[row]]), cosine) for row, cosine in members]


def _files(store: FolderStore, root: bytes, members: list[tuple[int, float]]) -> list[tuple[StoredFile, float]]:
    below = store.files_of([content for content, _ in members], root)
    return [(file, cosine) for content, cosine in members for file in below[content]]


def _by_content(paths: list[bytes], size: int) -> Iterator[list[StoredFile]]:
    found: dict[bytes, list[StoredFile]] = {}
    for path in paths:
        with suppress(OSError), path_of(path).open("rb") as file:
            content_hash = hashlib.file_digest(file, "sha256").digest()
            found.setdefault(content_hash, []).append(StoredFile(path, size, 0, content_hash, 0, 0))
    return (files for files in found.values() if len(files) > 1)


def _sorted(groups: Iterable[Group | None]) -> list[Group]:
    real = [group for group in groups if group is not None]
    return sorted(real, key=lambda group: (-group.spare_bytes, group.copies[0].file.path))


def _group(files: list[tuple[StoredFile, float]]) -> Group | None:
    """Counts several names of one file (hard links, symbolic links) as one copy, and leaves out files that are gone."""
    names: dict[tuple[int, int], list[tuple[StoredFile, float]]] = {}
    for file, cosine in files:
        with suppress(OSError):
            status = os.stat(file.path)  # noqa: PTH116 - bytes
            names.setdefault((status.st_dev, status.st_ino), []).append((file, cosine))
    if len(names) < 2:
        return None
    copies = tuple(_copy(same) for same in names.values())
    return Group("identical" if len({copy.file.hash for copy in copies}) == 1 else "alike", copies)


def _copy(names: list[tuple[StoredFile, float]]) -> Copy:
    """Names the real file first, so that nobody deletes the target of a link."""
    (file, cosine), *others = sorted(names, key=lambda name: (os.path.islink(name[0].path), name[0].path))  # noqa: PTH114
    return Copy(file, cosine, tuple(other.path for other, _ in others))
