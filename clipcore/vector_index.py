"""Exact nearest neighbours over fp16 rows in memory, filtered by group before anything is ranked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.types import SearchHit, Vectors
from clipcore.vector_rows import Keys, Rows
from clipcore.vector_scores import DECIMALS
from clipcore.vector_tiles import HostRows

_ADDED_AT_ONCE = 16384


class VectorIndex:
    """Vectors by key, each in one group (for the bot: the channel). Not thread-safe: one owner at a time.

    Memory: 2 bytes a dimension and 9 to 12 bytes for key and group, and 256 KiB for an index however small. Nothing is
    copied as it grows but the rows of groups too small for a tile (128 rows).

    A search reads the rows of its groups once, and those of small groups mixed with others', for approximate scores
    whose error is bounded (`vector_scores`); whatever could be among the best is scored anew in float64. So answers do
    not depend on the machine, on torch, or on where rows lie.

    device: "cpu", or torch's name for another device, which then holds the rows (`vector_device`).
    rows: what holds them instead.
    """

    def __init__(self, dimension: int, *, device: str = "cpu", rows: Rows | None = None) -> None:
        self.dimension = dimension
        self._rows = _rows_on(device, dimension) if rows is None else rows
        self._greatest = np.iinfo(np.int64).min

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        """A pass over all keys."""
        return isinstance(key, int | np.integer) and self._rows.holds(int(key))

    @property
    def capacity(self) -> int:
        """Rows that memory is set aside for; the system gives it when it is first written to."""
        return self._rows.capacity

    @property
    def nbytes(self) -> int:
        """Bytes of memory that rows and keys are in."""
        return self._rows.nbytes

    def add(self, keys: Sequence[int] | Keys, groups: Sequence[int] | Keys, vectors: npt.NDArray[np.floating]) -> None:
        """vectors: [n, dim], finite, unit length, copied. A key that is known already is replaced, group included.

        Quickest where keys rise from call to call: they are new then, and none is looked for. Where memory runs out
        half-way (MemoryError) the index is of no further use; so with `discard`.
        """
        if vectors.shape != (len(keys), self.dimension) or len(groups) != len(keys):
            raise ValueError(f"expected {len(keys)} keys, groups and vectors of {self.dimension}, got {vectors.shape}")
        all_keys, all_groups = np.asarray(keys, np.int64), np.asarray(groups, np.int64)
        for start in range(0, len(all_keys), _ADDED_AT_ONCE):
            some = slice(start, start + _ADDED_AT_ONCE)
            self._add(all_keys[some], all_groups[some], vectors[some])

    def discard(self, keys: Iterable[int]) -> int:
        """Forgets these keys, those that are known, and overwrites their vectors. Returns how many were."""
        wanted = np.unique(np.fromiter(keys, np.int64))
        return self._rows.remove(wanted) if len(wanted) else 0

    def search(self, query: Vectors, k: int, groups: Collection[int] | None = None) -> list[SearchHit]:
        """The k rows with the greatest cosine to `query` (float32 [dim], unit length), best first; ties by key.

        groups: only rows of these groups exist for this search; None means all. Raises ValueError where the query is of
        another dimension or not all numbers.
        """
        exact = np.asarray(query, np.float32)
        if exact.shape != (self.dimension,) or not np.isfinite(exact).all():
            raise ValueError(f"expected a query of {self.dimension} finite numbers, got one of shape {exact.shape}")
        if k < 1 or not len(self):
            return []
        best_keys, best_scores = np.empty(0, np.int64), np.empty(0, np.float64)
        for keys, rows in self._rows.candidates(exact, k, groups):
            scores = np.round(rows.astype(np.float64) @ exact.astype(np.float64), DECIMALS)
            best_keys, best_scores = _best(np.concatenate([best_keys, keys]), np.concatenate([best_scores, scores]), k)
        return [SearchHit(int(key), float(score)) for key, score in zip(best_keys, best_scores, strict=True)]

    def save(self, path: Path, model_key: str) -> None:
        """One safetensors file, atomically. model_key: `ModelCard.key` of the model that the vectors are of.

        All rows are copied once on the way. Raises BadInput where it cannot be written.
        """
        from clipcore.vector_file import save_rows

        keys, groups, rows = zip(*self._rows.everything(), strict=True)
        save_rows(path, model_key, np.concatenate(keys), np.concatenate(groups), np.concatenate(rows))

    @classmethod
    def load(cls, path: Path, model_key: str, *, device: str = "cpu") -> VectorIndex:
        """What `save` wrote: the same rows, so the same answers. Raises BadInput where the file is missing, broken,
        foreign, or of another model.
        """
        from clipcore.vector_file import load_rows

        keys, groups, rows = load_rows(path, model_key)
        index = cls(rows.shape[1], device=device)
        index.add(keys, groups, rows)
        return index

    def _add(self, keys: Keys, groups: Keys, vectors: npt.NDArray[np.floating]) -> None:
        if (keys[1:] <= keys[:-1]).any():
            # Of a key that comes twice the last one holds.
            different, last = np.unique(keys[::-1], return_index=True)
            keys, order = different, len(keys) - 1 - last
            groups, vectors = groups[order], vectors[order]
        if keys[0] <= self._greatest:
            self._rows.remove(keys)
        self._greatest = max(self._greatest, int(keys[-1]))
        self._rows.put(keys, groups, vectors.astype(np.float16, copy=False))


def _rows_on(device: str, dimension: int) -> Rows:
    if device == "cpu":
        return HostRows(dimension)
    from clipcore.vector_device import DeviceRows

    return DeviceRows(dimension, device)


def _best(keys: Keys, scores: npt.NDArray[np.float64], k: int) -> tuple[Keys, npt.NDArray[np.float64]]:
    """The k best of these, in order. Everything that ties with the k-th takes part in the tie-break."""
    if len(keys) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        keys, scores = keys[scores >= least], scores[scores >= least]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]
