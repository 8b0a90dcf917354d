"""Exact nearest neighbours over fp16 vectors in memory, filtered by group before anything is ranked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcore.errors import BadInput
from clipcore.files import read_tensors, write_tensors
from clipcore.index.scan import Float16, scan
from clipcore.index.storage import Frames, Keys, Places, Storage
from clipcore.relevance import Scored, population_of
from clipcore.types import SearchHit, Vectors

_KIND = "vector index 1"
# Scores are compared rounded to this many decimals, so that equal images tie whatever the machine.
_DECIMALS = 6
_RESCORED_AT_ONCE = 4096


class VectorIndex:
    """Vectors by key, each in one group (in the bot: the channel). Not thread-safe: one owner at a time.

    A key may have several vectors, the frames of an animation: it is found by its best one, once.

    Memory: 2 bytes a dimension and 11 bytes a vector. It is taken in chunks of 4 vectors of one group, for large groups
    16 chunks at a time, from slabs of 8,192 vectors. Growing copies keys, but no more vectors than one slab has.

    A search reads the vectors of its groups once for approximate scores with a bounded error (`scan`); each that could
    be among the best is scored again in float64. So the answer is the same on every machine.
    """

    def __init__(self, dimension: int) -> None:
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, got {dimension}")
        self.dimension = dimension
        self._storage = Storage(dimension)
        self._greatest_key = -1

    def __len__(self) -> int:
        """The number of vectors."""
        return len(self._storage)

    def __contains__(self, key: object) -> bool:
        """A pass over all keys."""
        return isinstance(key, int | np.integer) and len(self._storage.find(np.array([key], np.int64))) > 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use for vectors and keys. May be read while another thread changes the index."""
        return self._storage.nbytes

    def add(
        self,
        vectors: npt.ArrayLike,
        keys: Sequence[int] | Keys | None = None,
        groups: Sequence[int] | Keys | int = 0,
        frames: Sequence[int] | Frames | int = 0,
    ) -> None:
        """vectors: [n, dim], of at most unit length, copied as float16. keys: n integers; by default those that follow
        the greatest so far, from 0. groups: one for each vector, or one for all; the same for all frames of a key.
        frames: 0 to 255, one for each vector, or one for all.

        All that a key has had is replaced, group included; of a key and frame given twice the last vector counts.
        Fastest where keys rise from call to call. Raises ValueError, and changes nothing, where the shapes do not fit
        or a vector is not finite in float16. After a MemoryError the index is of no further use.
        """
        rows = self._checked(vectors)
        each_key = self._greatest_key + 1 + np.arange(len(rows)) if keys is None else np.asarray(keys, np.int64)
        each_group = np.full(len(rows), groups, np.int64) if np.ndim(groups) == 0 else np.asarray(groups, np.int64)
        each_frame = np.full(len(rows), frames, np.uint8) if np.ndim(frames) == 0 else np.asarray(frames, np.uint8)
        if not each_key.shape == each_group.shape == each_frame.shape == (len(rows),):
            raise ValueError(f"expected a key, a group and a frame for each of {len(rows)} vectors")
        if not len(rows):
            return
        order = np.lexsort((each_frame, each_key))
        same = (np.diff(each_key[order]) == 0) & (np.diff(each_frame[order]) == 0)
        if same.any():
            order = order[np.append(~same, True)]
            each_key, each_frame, each_group, rows = each_key[order], each_frame[order], each_group[order], rows[order]
        if each_key.min() <= self._greatest_key:
            self._storage.remove(each_key)
        self._greatest_key = max(self._greatest_key, int(each_key.max()))
        self._storage.put(each_key, each_frame, each_group, rows)

    def discard(self, keys: Iterable[int]) -> int:
        """Removes these keys and overwrites their vectors. Unknown keys are ignored. Returns how many were known."""
        wanted = np.unique(np.fromiter(keys, np.int64))
        return self._storage.remove(wanted) if len(wanted) else 0

    def search(
        self, query: npt.ArrayLike, k: int, groups: Iterable[int] | None = None, keys: Keys | None = None
    ) -> list[SearchHit]:
        """The k keys whose best vectors have the greatest cosines to `query` (float32 [dim], unit length), best first;
        ties by key.

        groups: only vectors of these groups are searched; None means all. keys: int64 [n], in any order: only vectors
        with these keys are. Raises ValueError where the query has another shape or is not finite, and TypeError where k
        is not an integer.
        """
        return self.rank(query, k, groups, keys).hits

    def rank(
        self, query: npt.ArrayLike, k: int, groups: Iterable[int] | None = None, keys: Keys | None = None
    ) -> Scored:
        """As `search`, and how the query scores over all keys that are searched, by their first frames."""
        exact = np.ascontiguousarray(query, np.float32)
        if exact.shape != (self.dimension,) or not np.isfinite(exact).all():
            raise ValueError(f"expected a query of {self.dimension} finite numbers, got one of shape {exact.shape}")
        if not isinstance(k, int | np.integer):
            raise TypeError(f"k must be an integer, got {k!r}")
        chunks, allowed = self._storage.chunks_of(groups), None
        if keys is not None:
            chunks, allowed = self._storage.holding(chunks, keys)
        if k < 1 or not len(chunks):
            return Scored([], None)
        scores, error = scan(self._storage.slabs, chunks, self._storage.used, exact)
        firsts, count, chunk_rows = scores, int(self._storage.used[chunks].sum()), self._storage.chunk_rows
        if allowed is not None:
            scores[~allowed] = -np.inf
        if self._storage.frames.any():
            firsts = np.where(self._storage.frames.reshape(-1, chunk_rows)[chunks], np.float32(-np.inf), scores)
        if allowed is not None or firsts is not scores:
            count = int(np.count_nonzero(firsts > -np.inf))
        rows = _possible_best(scores.reshape(-1), firsts.reshape(-1), k, error)
        hits = self._best(exact, k, chunks[rows // chunk_rows] * chunk_rows + rows % chunk_rows)
        return Scored(hits, population_of(firsts, count))

    def vectors(self, keys: Sequence[int] | Keys) -> Float16:
        """The first frames of these keys, which differ, in their order: float16 [n, dim], a copy; zeros where a key is
        unknown.
        """
        wanted = np.asarray(keys, np.int64)
        found = np.zeros((len(wanted), self.dimension), np.float16)
        places = self._storage.find(wanted)
        held, rows = self._storage.read(places[self._storage.frames[places] == 0])
        order = np.argsort(wanted)
        found[order[np.searchsorted(wanted, held, sorter=order)]] = rows
        return found

    def save(self, path: str | PathLike[str], model_key: str) -> None:
        """Writes one safetensors file, atomically. model_key: `ModelCard.key` of the model that made the vectors.

        Copies all vectors once in memory. Raises BadInput where the file cannot be written.
        """
        keys, frames, groups, rows = self._storage.everything()
        arrays: dict[str, npt.NDArray[Any]] = {"keys": keys, "groups": groups, "rows": rows}
        if frames.any():
            arrays["frames"] = frames
        write_tensors(Path(path), _KIND, arrays, {"model": model_key})

    @classmethod
    def load(cls, path: str | PathLike[str], model_key: str) -> VectorIndex:
        """Reads what `save` wrote: the same vectors, so the same answers. Raises BadInput where the file is missing,
        broken, of another kind, or of another model.
        """
        arrays, metadata = read_tensors(Path(path), _KIND, "an index")
        if metadata.get("model") != model_key:
            raise BadInput(
                f"The index {str(path)!r} was made with the model {metadata.get('model')!r}, not {model_key!r}; "
                "make it again with that model."
            )
        try:
            if [arrays[name].dtype for name in ("keys", "groups", "rows")] != [np.int64, np.int64, np.float16]:
                raise ValueError("its arrays have other types")
            index = cls(arrays["rows"].shape[1])
            frames = arrays.get("frames", np.zeros(len(arrays["rows"]))).astype(np.uint8)
            index.add(arrays["rows"], arrays["keys"].astype(np.int64), arrays["groups"].astype(np.int64), frames)
            if len(index) < len(arrays["rows"]):
                raise ValueError("a key occurs twice")
        except (KeyError, IndexError, ValueError) as error:
            raise BadInput(f"The index {str(path)!r} is broken ({error}); make it again.") from error
        return index

    def _checked(self, vectors: npt.ArrayLike) -> Float16:
        given = np.asarray(vectors)
        if given.ndim != 2 or given.shape[1] != self.dimension:
            raise ValueError(f"expected vectors of shape [n, {self.dimension}], got {list(given.shape)}")
        with np.errstate(over="ignore"):
            rows = given.astype(np.float16, copy=False)
        # Whether any exponent is all ones: comparing bits as integers takes a twenty-fifth of the time of `isfinite`.
        if rows.view(np.int16).max(initial=0) >= 0x7C00 or rows.view(np.uint16).max(initial=0) >= 0xFC00:
            row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise ValueError(f"vector {row} holds NaN, an infinity, or a number too large for float16")
        return rows

    def _best(self, query: Vectors, k: int, places: Places) -> list[SearchHit]:
        """The k best keys among those of these places, by the exact scores of their best vectors."""
        keys, scores = np.empty(len(places), np.int64), np.empty(len(places))
        for start in range(0, len(places), _RESCORED_AT_ONCE):
            some = slice(start, start + _RESCORED_AT_ONCE)
            keys[some], rows = self._storage.read(places[some])
            scores[some] = np.round(rows.astype(np.float64) @ query.astype(np.float64), _DECIMALS)
        order = np.lexsort((keys, -scores))
        best_of_each = np.sort(np.unique(keys[order], return_index=True)[1])[:k]
        return [SearchHit(int(keys[at]), float(scores[at])) for at in order[best_of_each]]


def _possible_best(scores: Vectors, firsts: Vectors, k: int, error: float) -> Places:
    """Which rows can be the best of one of the k best keys, or of one that ties with the k-th, by exact scores.

    scores: -inf where there is no row. firsts: the same for first frames, -inf for others: a key has one at most.
    The k keys with the greatest approximate scores of first frames are truly no worse than the k-th of these less
    `error`; whatever is truly as good as that, or is after rounding, scores at most `error` less.
    """
    kth = float(np.partition(firsts, len(firsts) - k)[len(firsts) - k]) if len(firsts) > k else -np.inf
    bound = np.float32(kth - 2 * error - 10.0**-_DECIMALS)
    return np.flatnonzero(scores > np.nextafter(bound, np.float32(-np.inf)))
