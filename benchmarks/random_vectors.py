"""Random vectors, of one dimension for all who measure. No part of the bot comes with them: who counts the bytes of a
process imports this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DIMENSION = 512


def random_halves(rows: int, *, seed: int = 0) -> npt.NDArray[np.float16]:
    """float16 [rows, DIMENSION], unit length."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16)
