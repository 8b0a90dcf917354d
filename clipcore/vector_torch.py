"""torch's kernels over fp16 rows in main memory. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from clipcore.types import Vectors
from clipcore.vector_rows import Halves, Places
from clipcore.vector_scores import Part, Scores, fp16_precision

# Indices and weights of 3 MB. Fewer are no slower on an idle machine (benchmarks/NOTES.md), but between two calls the
# threads wait for one another, and on a busy one each time for whoever has their core.
_TILES_AT_ONCE = 1024
# Most servers have no more, and need not wait for the weights of a thousand: half the time of their search.
_FEW_TILES = 32
_ROWS_AT_ONCE = 4096


class TorchScorer:
    """Tiles are scored by `embedding_bag`: the sum of a tile's dimensions, weighted by the query, is its rows' scores.

    Its kernel (FBGEMM's on x86) converts each number once and sums in fp32, where `mv` over rows converts the query
    anew for each row and can take 1.7 times as long as the memory; and one call takes any selection of tiles.
    """

    kernels = "torch"

    def __init__(self, query: Vectors) -> None:
        self._query = torch.tensor(query).half()
        self._weights = self._query.repeat(_FEW_TILES)
        self._dimensions = torch.arange(len(query), dtype=torch.int32)
        self.precision = fp16_precision(query, self._query.float().numpy())

    def score(self, parts: Sequence[Part]) -> list[tuple[Scores, Vectors]]:
        return [self._rows(part) if part.slab.shape[2] == 1 else self._tiles(part) for part in parts]

    def _tiles(self, part: Part) -> tuple[Scores, Vectors]:
        scores = np.empty((len(part.chosen), part.slab.shape[2]), np.float16)
        heads = np.empty(len(part.chosen), np.float32)
        for start in range(0, len(part.chosen), _TILES_AT_ONCE):
            some = slice(start, start + _TILES_AT_ONCE)
            bags = self._bags(part.slab, part.chosen[some])
            scores[some], heads[some] = bags.numpy(), bags.amax(1).numpy()
        return scores, heads

    def _rows(self, part: Part) -> tuple[Scores, Vectors]:
        """All are scored where a good part is chosen: copying rows together takes as long as scanning three."""
        everything, places = torch.from_numpy(part.slab[:, :, 0]), torch.from_numpy(part.chosen)
        if 3 * len(places) > len(everything):
            scores = torch.mv(everything, self._query)[places]
        else:
            scores = self._query.new_empty(len(places))
            for start in range(0, len(places), _ROWS_AT_ONCE):
                some = slice(start, start + _ROWS_AT_ONCE)
                torch.mv(everything.index_select(0, places[some]), self._query, out=scores[some])
        found: Vectors = scores.float().numpy()
        return found[:, None], found

    def _bags(self, slab: Halves, chosen: Places) -> torch.Tensor:
        dimension, tile_rows = slab.shape[1:]
        if len(self._weights) < len(chosen) * dimension:
            self._weights = self._query.repeat(_TILES_AT_ONCE)
        starts = torch.from_numpy(chosen.astype(np.int32)) * dimension
        return torch.nn.functional.embedding_bag(
            (starts[:, None] + self._dimensions).view(-1),
            torch.from_numpy(slab).view(-1, tile_rows),
            torch.arange(0, len(chosen) * dimension, dimension, dtype=torch.int32),
            mode="sum",
            per_sample_weights=self._weights[: len(chosen) * dimension],
        )
