"""Groups of files with the same content, and of pictures that look all but the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from clipcore.folder.contents import StoredFile
from clipcore.folder.store import FolderStore
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

    @property
    def spare_bytes(self) -> int:
        """What would be free if only the first stayed."""
        return sum(copy.file.size for copy in self.copies[1:])


Track = Callable[[range], Iterable[int]]


def near_threshold(calibration: Calibration) -> float:
    """Four fifths of the way from "alike" to "the same": a resized or recompressed copy lies above it, another
    picture of the same thing below; see the measurement in the tests.
    """
    return 1 - (1 - calibration.image_match) / 5


def find_duplicates(
    store: FolderStore, root: bytes, model_key: str, *, least: float | None, track: Track = iter
) -> Iterator[Group]:
    """least: the cosine from which two pictures count as alike; None for identical files alone, which needs no vectors.

    The groups with the most to gain first. track: sees the blocks of comparisons go by, for a progress bar.
    """
    copied = store.copied_contents(root)
    if least is None:
        found = [[(content, 1.0)] for content in copied]
    else:
        several = set(copied)
        everything = _alike(store, root, model_key, least, track)
        found = [members for members in everything if len(members) > 1 or members[0][0] in several]
    groups = [group for members in found if (group := _group(store, root, members)) is not None]
    yield from sorted(groups, key=lambda group: (-group.spare_bytes, group.copies[0].file.path))


def clusters(vectors: npt.NDArray[np.floating], least: float, track: Track = iter) -> list[list[tuple[int, float]]]:
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
                _lead(start + row, start, cosines[row], least, leader, cosine)
    groups: dict[int, list[tuple[int, float]]] = {}
    for row in range(count):
        groups.setdefault(int(leader[row]), []).append((row, float(cosine[row])))
    return list(groups.values())


def _lead(row: int, start: int, cosines: Vectors, least: float, leader: npt.NDArray[np.int64], cosine: Vectors) -> None:
    """Takes every later row that is still free and resembles this one. cosines: with the rows from `start` on."""
    leader[row] = row
    after = slice(row + 1, None)
    near = np.flatnonzero((cosines[row + 1 - start :] >= least) & (leader[after] < 0)) + row + 1
    leader[near] = row
    cosine[near] = cosines[near - start]


def _cosines(block: Vectors, vectors: npt.NDArray[np.floating]) -> Vectors:
    """float32 [block, vectors], a few thousand columns converted at a time."""
    out = np.empty((len(block), len(vectors)), np.float32)
    for start in range(0, len(vectors), 4096):
        some = slice(start, start + 4096)
        out[:, some] = block @ np.asarray(vectors[some], np.float32).T
    return out


def _alike(
    store: FolderStore, root: bytes, model_key: str, least: float, track: Track
) -> Iterator[list[tuple[int, float]]]:
    pages = list(store.vectors_below(root, model_key))
    if not pages:
        return
    ids = np.array([content for contents, _ in pages for content in contents], np.int64)
    sizes = store.sizes_below(root)
    pixels = np.array([sizes[content] for content in ids.tolist()], np.int64)
    order = np.lexsort((ids, -pixels))
    vectors = np.concatenate([vectors for _, vectors in pages])[order]
    for members in clusters(vectors, least, track):
        yield [(int(ids[order[row]]), cosine) for row, cosine in members]


def _group(store: FolderStore, root: bytes, members: list[tuple[int, float]]) -> Group | None:
    files = store.files_of([content for content, _ in members], root)
    copies = [copy for content, cosine in members for copy in _copies(files[content], cosine)]
    if len(copies) < 2:
        return None
    return Group("identical" if len({copy.file.content for copy in copies}) == 1 else "alike", tuple(copies))


def _copies(files: list[StoredFile], cosine: float) -> Iterator[Copy]:
    """Several names of one file (hard links, links) are one copy. Files that are gone by now are none."""
    names: dict[tuple[int, int], list[StoredFile]] = {}
    for file in files:
        try:
            status = os.stat(file.path)  # noqa: PTH116 - bytes
        except OSError:
            continue
        names.setdefault((status.st_dev, status.st_ino), []).append(file)
    for same in names.values():
        # The real file is named first, so that nobody deletes what a link leads to.
        first, *others = sorted(same, key=lambda file: (os.path.islink(file.path), file.path))  # noqa: PTH114 - bytes
        yield Copy(first, cosine, tuple(other.path for other in others))
