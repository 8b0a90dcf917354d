"""Finds groups of files with the same content, and of near-duplicate images."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clipcore.encoding.resumable import Progress
from clipcore.folder_search.paths import path_of
from clipcore.folder_search.store import FolderStore, StoredFile, StoredVectors
from clipcore.images.walk import ImageFile, WalkFilter, walk
from clipcore.types import Calibration, Vectors

# Cosines held at a time: 64 MB of float32.
_MAX_COSINES = 16_000_000
# Stored vectors converted to float32 at a time.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Copy:
    """cosine: with the group's first. links: other names of the same file, which take no space of their own."""

    file: StoredFile
    cosine: float
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """copies: at least two; the first has the most pixels, and each of the others resembles it."""

    copies: tuple[Copy, ...]

    @property
    def kind(self) -> Literal["identical", "alike"]:
        """Identical if all have the same bytes."""
        return "identical" if len({copy.file.hash for copy in self.copies}) == 1 else "alike"

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


def near_threshold(calibration: Calibration) -> float:
    """Four fifths of the way from the model's image threshold to 1. Resized and recompressed copies lie above it, other
    images of the same thing below; the tests measure this.
    """
    return 1 - (1 - calibration.image_threshold) / 5


def find_duplicates(
    store: FolderStore, root: bytes, model_key: str, *, min_score: float, track: Progress = iter
) -> list[Group]:
    """Returns the groups that would free the most bytes first.

    min_score: the cosine from which two images are alike. track: wraps the blocks of comparisons, for a progress bar.
    """
    pages = list(store.vectors_below(root, model_key))
    if not pages:
        return []
    files = [store.files_of(content, root) for contents, _ in pages for content in contents]
    # Without those that another process has forgotten meanwhile.
    present = [row for row, found in enumerate(files) if found]
    order = sorted(present, key=lambda row: -files[row][0].width * files[row][0].height)
    vectors = np.concatenate([vectors for _, vectors in pages])[order]
    return _groups(
        [(file, cosine) for row, cosine in members for file in files[order[row]]]
        for members in clusters(vectors, min_score, track)
    )


def find_identical(root: bytes, filter_: WalkFilter | None = None) -> list[Group]:
    """Returns groups of identical files, without a model or an index. Reads only files of equal size, and leaves out
    those that cannot be read.
    """
    files = [entry for entry in walk(root, filter_) if isinstance(entry, ImageFile) and entry.size]
    sizes = Counter(file.size for file in files)
    identical: defaultdict[bytes, list[tuple[StoredFile, float]]] = defaultdict(list)
    for entry in files:
        if sizes[entry.size] > 1:
            with suppress(OSError), path_of(entry.path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                identical[digest].append((StoredFile(entry.path, entry.size, digest, 0, 0), 1.0))
    return _groups(identical.values())


def clusters(
    vectors: StoredVectors | Vectors, min_score: float, track: Progress = iter
) -> list[list[tuple[int, float]]]:
    """Groups rows of unit length, the preferred ones first. Returns each group, even of one row, as pairs of a row and
    its cosine with the group's first.

    Each row joins the first earlier one that it resembles and that leads a group. So every row resembles its group's
    first, and no chains form. Memory: one block of cosines.
    """
    count = len(vectors)
    free = np.ones(count, bool)
    groups = []
    step = max(1, min(1024, _MAX_COSINES // max(count, 1)))
    for start in track(range(0, count, step)):
        block = vectors[start : start + step].astype(np.float32)
        block_cosines = np.empty((len(block), count - start), np.float32)
        for at in range(0, count - start, _ROWS_AT_ONCE):
            later = vectors[start + at :][:_ROWS_AT_ONCE].astype(np.float32)
            block_cosines[:, at : at + _ROWS_AT_ONCE] = block @ later.T
        for row, cosines in enumerate(block_cosines, start):
            if free[row]:
                free[row] = False
                near = np.flatnonzero((cosines >= min_score) & free[start:])
                free[start + near] = False
                alike = zip((start + near).tolist(), np.minimum(cosines[near], 1).tolist(), strict=True)
                groups.append([(row, 1.0), *alike])
    return groups


def _groups(candidates: Iterable[list[tuple[StoredFile, float]]]) -> list[Group]:
    """Counts several names of one file (hard links, symbolic links) as one copy, and leaves out files that are gone."""
    groups = []
    for files in candidates:
        if len(files) < 2:
            continue
        names: defaultdict[tuple[int, int], list[tuple[StoredFile, float]]] = defaultdict(list)
        for file, cosine in files:
            with suppress(OSError):
                status = os.stat(file.path)  # noqa: PTH116 - bytes
                names[status.st_dev, status.st_ino].append((file, cosine))
        if len(names) > 1:
            groups.append(Group(tuple(map(_copy, names.values()))))
    return sorted(groups, key=lambda group: (-group.spare_bytes, group.copies[0].file.path))


def _copy(names: list[tuple[StoredFile, float]]) -> Copy:
    """Names the real file first, so that nobody deletes the target of a link."""
    (file, cosine), *others = sorted(names, key=lambda name: (os.path.islink(name[0].path), name[0].path))  # noqa: PTH114
    return Copy(file, cosine, tuple(other.path for other, _ in others))
