"""Groups of files with the same content, and of images that look all but the same."""

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

# A block of cosines held at a time: 64 MB of float32.
_MOST_COSINES = 16_000_000


@dataclass(frozen=True, slots=True)
class Copy:
    """cosine: with the group's first. links: other names of the very same file, which hold no bytes of their own."""

    file: StoredFile
    cosine: float
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """kind: whether all are identical byte by byte, or some only look alike. copies: at least two; the first has the
    most pixels, and every other resembles it."""

    kind: Literal["identical", "alike"]
    copies: tuple[Copy, ...]

    def relation(self, copy: Copy) -> Literal["first", "identical", "alike"]:
        """What the copy is beside the first."""
        first = self.copies[0]
        if copy is first:
            return "first"
        return "identical" if copy.file.hash == first.file.hash else "alike"

    @property
    def spare_bytes(self) -> int:
        """What would be free if only the first stayed."""
        return sum(copy.file.size for copy in self.copies[1:])


Track = Callable[[range], Iterable[int]]


def near_threshold(calibration: Calibration) -> float:
    """Four fifths of the way from "alike" to "the same": a resized or recompressed copy lies above it, another
    image of the same thing below; see the measurement in the tests.
    """
    return 1 - (1 - calibration.image_match) / 5


def find_duplicates(
    store: FolderStore, root: bytes, model_key: str, *, min_score: float, track: Track = iter
) -> list[Group]:
    """min_score: the cosine from which two images count as alike. track: sees the blocks of comparisons go by, for a
    progress bar. The groups with the most to gain come first.
    """
    several = set(store.copied_contents(root))
    everything = _alike(store, root, model_key, min_score, track)
    found = [members for members in everything if len(members) > 1 or members[0][0] in several]
    return _sorted(_group(_files(store, root, members)) for members in found)


def find_identical(root: bytes, filter_: WalkFilter | None = None) -> list[Group]:
    """The same for identical files alone: needs neither model nor index, and reads only files of equal size.

    Raises nothing for files that cannot be read; they are left out.
    """
    by_size: dict[int, list[bytes]] = {}
    for entry in walk(root, filter_):
        if isinstance(entry, ImageFile) and entry.size:
            by_size.setdefault(entry.size, []).append(entry.path)
    same = (files for size, paths in by_size.items() if len(paths) > 1 for files in _by_content(paths, size))
    return _sorted(_group([(file, 1.0) for file in files]) for files in same)


def clusters(vectors: npt.NDArray[np.floating], min_score: float, track: Track = iter) -> list[list[tuple[int, float]]]:
    """Rows of unit length, most preferred first -> groups of (row, cosine with the group's first), alone ones included.

    Each row joins the first earlier one that it resembles and that leads a group. So all of a group resemble its
    first; chains, where the last no longer looks like the first, cannot form. Memory: one block of cosines.
    """
    count = len(vectors)
    leader = np.full(count, -1, np.int64)
    cosine = np.ones(count, np.float32)
    step = max(1, min(1024, _MOST_COSINES // max(count, 1)))
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
    """Takes every later row that is still free and resembles this one. cosines: with the rows from `start` on."""
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
    """Several names of one file (hard links, links) are one copy. Files that are gone by now are none."""
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
    """The real file is named first, so that nobody deletes what a link leads to."""
    (file, cosine), *others = sorted(names, key=lambda name: (os.path.islink(name[0].path), name[0].path))  # noqa: PTH114
    return Copy(file, cosine, tuple(other.path for other, _ in others))
