"""Servers full of made-up images. Run as a module: how many bytes an image an index takes in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.random_vectors import DIMENSION, random_halves
from clipcore.index.vector_index import VectorIndex
from clipcore.types import Vectors

_CHUNK = 16384


@dataclass(frozen=True, slots=True)
class Server:
    """channels: [rows], the channel of each image in order of arrival."""

    channels: npt.NDArray[np.int64]
    tiny: bool = False
    note: str = ""

    @property
    def rows(self) -> int:
        return len(self.channels)

    def half(self) -> frozenset[int]:
        """Every second channel."""
        return frozenset(np.unique(self.channels)[::2].tolist())

    def count(self, readable: frozenset[int]) -> int:
        return int(np.isin(self.channels, list(readable)).sum())

    def query(self) -> Vectors:
        """Near the first image."""
        noise = np.random.default_rng(7).standard_normal(DIMENSION, np.float32)
        near = next(self.chunks())[1][0].astype(np.float32) + noise / np.float32(30)
        query: Vectors = near / np.linalg.norm(near)
        return query

    def chunks(self) -> Iterator[tuple[slice, npt.NDArray[np.float16]]]:
        """Rows as fp16 [n, dim], unit length: some thousands of random vectors, their dimensions turned a step further
        for each chunk. Random numbers for all would take longer than all the rest.
        """
        pool = random_halves(min(_CHUNK, self.rows))
        for step, start in enumerate(range(0, self.rows, _CHUNK)):
            some = slice(start, min(start + _CHUNK, self.rows))
            yield some, np.roll(pool[: some.stop - start], step, axis=1)

    def index(self) -> VectorIndex:
        index = VectorIndex(DIMENSION)
        for some, vectors in self.chunks():
            index.add(vectors, np.arange(some.start, some.stop), self.channels[some])
        return index


def equal(rows: int, channels: int) -> Server:
    return Server(np.random.default_rng(1).permutation(np.arange(rows) % channels))


def skewed(rows: int, channels: int) -> Server:
    """By Zipf's law: the largest channel has a seventh of all images, the smallest some hundreds."""
    weights = 1 / np.arange(1, channels + 1)
    return Server(np.random.default_rng(1).choice(channels, rows, p=weights / weights.sum()))


def tiny(rows: int) -> Server:
    note = "a thread's images lie in three chunks, wherever they arrived"
    return Server(np.random.default_rng(1).permutation(np.arange(rows) // 10), tiny=True, note=note)


def _resident_bytes_a_row(rows: int, channels: int) -> float:
    server = equal(rows, channels)
    # What building takes by itself is taken before counting begins.
    Server(server.channels[: 2 * _CHUNK]).index()
    before = psutil.Process().memory_info().rss
    index = server.index()
    grown: int = psutil.Process().memory_info().rss - before
    return grown / len(index)


if __name__ == "__main__":
    print(_resident_bytes_a_row(int(sys.argv[1]), int(sys.argv[2])))
