from clipcore.types import Vectors
from clipcore.vector_rows import Halves, Places

def score(parts: list[tuple[Halves, Places, Vectors, Vectors, int]], query: Vectors, threads: int) -> None:
    """Of each part: a slab [tiles, dim, rows of a tile], the tiles that are chosen among them [n], where their scores
    [n, rows of a tile] and the best of each tile [n] go, and the rows of a tile. All contiguous; for tiles of one row
    scores and best may be one array. query: [dim]. Raises ValueError where these do not fit together.
    """
