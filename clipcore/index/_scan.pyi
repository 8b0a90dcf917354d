from clipcore.index.scan import Chunks, Float16, Used
from clipcore.types import Vectors

MAX_THREADS: int

def score(
    slabs: tuple[Float16, ...], chunks: Chunks, used: Used, query: Vectors, scores: Vectors, threads: int
) -> None:
    """Writes to `scores` what `scan.Scan` describes. Raises ValueError or BufferError where arrays do not fit."""
