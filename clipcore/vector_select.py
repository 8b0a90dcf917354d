"""Which rows could be among the best, from approximate scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clipcore.types import Vectors
from clipcore.vector_rows import Flags, Halves, Keys, Places
from clipcore.vector_scores import Precision, Scores, kth_greatest


class Source(Protocol):
    """Rows in tiles, each tile of one group."""

    @property
    def tiles(self) -> Halves:
        """[tiles, dim, rows of a tile], contiguous."""

    def chosen(self, allowed: Flags) -> Places:
        """The tiles of the groups whose slots are allowed."""

    def gaps(self, tiles: Places) -> tuple[Places, Places]:
        """Tile (among these) and row of whatever is none."""

    def fetch(self, first: Places, second: Places) -> tuple[Keys, Halves]:
        """Keys and rows (a copy) at these places."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored rows, in blocks. chosen: [blocks], what the source calls them. scores: [blocks, rows of each], -inf where
    there is no row. heads: [blocks], the best of each.
    """

    source: Source
    chosen: Places
    scores: Scores
    heads: Vectors

    @classmethod
    def without_gaps(cls, source: Source, chosen: Places, scores: Scores, heads: Vectors) -> Scored:
        """scores, heads: as they were computed, of rows and gaps alike; overwritten at the gaps."""
        gaps = source.gaps(chosen)
        if len(holed := np.unique(gaps[0])):
            scores[gaps] = -np.inf
            heads[holed] = scores[holed].max(1)
        return cls(source, chosen, scores, heads)


def best_of(parts: Sequence[Scored], k: int, precision: Precision) -> Iterator[tuple[Scored, Places, Places]]:
    """The blocks (among the chosen) and the rows in them that could be among the k best of all.

    The k-th best head bounds the k-th best score from below, so that most blocks are passed over unread; the k-th best
    of what is left bounds it as well as can be.
    """
    least = precision.least(kth_greatest(np.concatenate([part.heads for part in parts]), k))
    left = [_at_least(part, least) for part in parts]
    scores = [part.scores[first, second].astype(np.float32) for part, (first, second) in zip(parts, left, strict=True)]
    least = precision.least(kth_greatest(np.concatenate(scores), k))
    for part, (first, second), own in zip(parts, left, scores, strict=True):
        keep = own >= least
        yield part, first[keep], second[keep]


def _at_least(part: Scored, least: float) -> tuple[Places, Places]:
    blocks = np.flatnonzero(part.heads >= least)
    scores = part.scores[blocks]
    first, second = np.nonzero((scores >= least) & (scores > -np.inf))
    return blocks[first], second
