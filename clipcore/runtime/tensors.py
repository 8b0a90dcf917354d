"""From numpy's pixels to torch, and from torch's features to unit length."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipcore.types import Pixels


def as_tensor(batch: Pixels) -> Tensor:
    """The same memory where it can be: torch takes none that is read-only or has gaps."""
    return torch.from_numpy(np.require(batch, requirements=["C", "W"]))


def unit_length(features: Tensor) -> Tensor:
    """[n, dim] of any length and precision -> float32 [n, dim], unit length, where it was."""
    return torch.nn.functional.normalize(features.float(), dim=-1)
