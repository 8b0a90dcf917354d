from clipcore.types import Vectors
from clipcore.vector_rows import Halves, Places

INTERFACE: int
MOST_THREADS: int

def score(parts: tuple[tuple[Halves, Places, Vectors, Vectors], ...], query: Vectors, threads: int) -> None:
    """Of each part: a slab [tiles, dim, rows of a tile], the tiles that are chosen among them [n], and where their
    scores [n, rows of a tile] and the best of each tile [n] go. query: [dim]. All contiguous.

    Raises ValueError where these do not fit together, and where an array is not contiguous or may not be written to.
    """
