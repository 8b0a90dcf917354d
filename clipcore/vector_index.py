"""Exact nearest neighbours over fp16 rows in memory, filtered by group before anything is ranked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.types import SearchHit, Vectors

_SMALLEST = 256
# fp16 storage moves a cosine by up to 5e-4, and a matrix product by 1e-7 with the shape of its batch. Rounding lets
# equal pictures tie, so that their order is their keys' and not an accident of where their rows lie.
_DECIMALS = 6


class VectorIndex:
    """Vectors by key, each in one group (for the bot: the channel). Not thread-safe: one owner at a time.

    Memory: 2 bytes a dimension and 16 bytes for key and group, times at most twice the rows held (four times after a
    great discard). A search converts `chunk_rows` rows to float32 at a time: 16 MB at 512 dimensions, however large the
    index is.
    """

    def __init__(self, dimension: int, *, chunk_rows: int = 8192) -> None:
        self.dimension = dimension
        self._chunk_rows = chunk_rows
        self._rows: npt.NDArray[np.float16] = np.empty((_SMALLEST, dimension), np.float16)
        self._keys: npt.NDArray[np.int64] = np.empty(_SMALLEST, np.int64)
        self._groups: npt.NDArray[np.int64] = np.empty(_SMALLEST, np.int64)
        self._row_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, key: object) -> bool:
        return key in self._row_of

    @property
    def capacity(self) -> int:
        """Rows that memory is held for."""
        return len(self._keys)

    def add(self, keys: Sequence[int], groups: Sequence[int], vectors: npt.NDArray[np.floating]) -> None:
        """vectors: [n, dim], unit length. A key that is known already is replaced, group included."""
        if vectors.shape != (len(keys), self.dimension) or len(groups) != len(keys):
            raise ValueError(f"expected {len(keys)} keys, groups and vectors of {self.dimension}, got {vectors.shape}")
        self._reserve(len(self) + len(keys))
        rows = [self._row_of.setdefault(key, len(self._row_of)) for key in keys]
        # Where a key comes twice, numpy keeps what is assigned last.
        self._rows[rows], self._keys[rows], self._groups[rows] = vectors, keys, groups

    def discard(self, keys: Iterable[int]) -> int:
        """Forgets these keys, those that are known. Returns how many were. The last row moves into each gap."""
        known = [key for key in keys if self._discard_one(key)]
        if len(self) < self.capacity // 4 and self.capacity > _SMALLEST:
            self._resize(max(_SMALLEST, 2 * len(self)))
        return len(known)

    def search(self, query: Vectors, k: int, groups: Collection[int] | None = None) -> list[SearchHit]:
        """The k rows with the greatest cosine to `query` (float32 [dim], unit length), best first; ties by key.

        groups: only rows of these groups exist for this search; None means all.
        """
        if k < 1 or not self._row_of:
            return []
        allowed = None if groups is None else np.fromiter(groups, np.int64, len(groups))
        best_keys, best_scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for start in range(0, len(self), self._chunk_rows):
            rows = slice(start, min(start + self._chunk_rows, len(self)))
            keys, scores = self._scores(np.asarray(query, np.float32), rows, allowed)
            best_keys, best_scores = _best(np.concatenate([best_keys, keys]), np.concatenate([best_scores, scores]), k)
        return [SearchHit(int(key), float(score)) for key, score in zip(best_keys, best_scores, strict=True)]

    def save(self, path: Path, model_key: str) -> None:
        """One safetensors file, atomically. model_key: `ModelCard.key` of the model that the vectors are of.

        Raises BadInput where it cannot be written.
        """
        from clipcore.vector_file import save_rows

        used = slice(len(self))
        save_rows(path, model_key, self._keys[used], self._groups[used], self._rows[used])

    @classmethod
    def load(cls, path: Path, model_key: str) -> VectorIndex:
        """What `save` wrote: the same rows, so the same answers. Raises BadInput where the file is missing, broken,
        foreign, or of another model.
        """
        from clipcore.vector_file import load_rows

        keys, groups, rows = load_rows(path, model_key)
        index = cls(rows.shape[1])
        index.add(keys.tolist(), groups.tolist(), rows)
        return index

    def _scores(
        self, query: Vectors, rows: slice, allowed: npt.NDArray[np.int64] | None
    ) -> tuple[npt.NDArray[np.int64], Vectors]:
        keys, vectors = self._keys[rows], self._rows[rows]
        if allowed is not None:
            inside = np.isin(self._groups[rows], allowed)
            keys, vectors = keys[inside], vectors[inside]
        return keys, np.round(vectors.astype(np.float32) @ query, _DECIMALS)

    def _discard_one(self, key: int) -> bool:
        row = self._row_of.pop(key, None)
        if row is None:
            return False
        last = len(self._row_of)
        if row != last:
            self._rows[row], self._keys[row], self._groups[row] = self._rows[last], self._keys[last], self._groups[last]
            self._row_of[int(self._keys[row])] = row
        return True

    def _reserve(self, rows: int) -> None:
        if rows > self.capacity:
            self._resize(max(rows, 2 * self.capacity))

    def _resize(self, capacity: int) -> None:
        used = len(self)
        for name in ("_rows", "_keys", "_groups"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), old.dtype)
            new[:used] = old[:used]
            setattr(self, name, new)


def _best(keys: npt.NDArray[np.int64], scores: Vectors, k: int) -> tuple[npt.NDArray[np.int64], Vectors]:
    """The k best of these, in order. Everything that ties with the k-th takes part in the tie-break."""
    if len(keys) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        keys, scores = keys[scores >= least], scores[scores >= least]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]
