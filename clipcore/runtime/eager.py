"""torch as it is: what runs on every device, and what the others are measured against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clipcore.runtime.seam import Pending
from clipcore.runtime.tensors import unit_length
from clipcore.types import Pixels, Vectors


class EagerForward:
    """features: uint8 [n, s, s, 3] -> [n, dim] of any length, on the model's own device."""

    overlaps = False

    def __init__(self, features: Callable[[Pixels], Tensor]) -> None:
        self._features = features

    def begin(self, batch: Pixels) -> Pending:
        with torch.inference_mode():
            vectors = unit(self._features(batch))
        return lambda: vectors


def unit(features: Tensor) -> Vectors:
    """[n, dim] of any length and precision -> float32 [n, dim], unit length, on the host."""
    vectors: Vectors = unit_length(features).cpu().numpy()
    return vectors
