"""A vector index on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipcore.errors import BadInput
from clipcore.files import Array, read_tensors, write_tensors

_KIND = "vector index 1"
_MODEL = "model"

Keys = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float16]


def save_rows(path: Path, model_key: str, keys: Keys, groups: Keys, rows: Rows) -> None:
    """keys, groups: int64 [n]; rows: float16 [n, dim]. Raises BadInput where the file cannot be written."""
    write_tensors(path, _KIND, {"keys": keys, "groups": groups, "rows": rows}, {_MODEL: model_key})


def load_rows(path: Path, model_key: str) -> tuple[Keys, Keys, Rows]:
    """Keys, groups and rows. Raises BadInput where the file is missing, broken, foreign, or of another model."""
    arrays, about = read_tensors(path, _KIND, "an index")
    if about.get(_MODEL) != model_key:
        raise BadInput(
            f"The index {str(path)!r} is of the model {about.get(_MODEL)!r}, not {model_key!r}; make it anew with that."
        )
    keys, groups, rows = (arrays.get(name) for name in ("keys", "groups", "rows"))
    if keys is None or groups is None or rows is None or not _fit(keys, groups, rows):
        raise BadInput(f"The index {str(path)!r} is broken; make it anew.")
    return keys.astype(np.int64), groups.astype(np.int64), rows.astype(np.float16)


def _fit(keys: Array, groups: Array, rows: Array) -> bool:
    types = [array.dtype.name for array in (keys, groups, rows)] == ["int64", "int64", "float16"]
    shapes = keys.ndim == 1 and rows.ndim == 2 and keys.shape == groups.shape == rows.shape[:1]
    return types and shapes and len(np.unique(keys)) == len(keys)
