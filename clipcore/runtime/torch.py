"""torch as it is: what runs on every device, and what the others are measured against."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from clipcore.types import Pixels, Vectors


def as_tensor(batch: Pixels) -> Tensor:
    """The same memory where it can be: torch takes none that is read-only or has gaps."""
    return torch.from_numpy(np.require(batch, requirements=["C", "W"]))


def unit_length(features: Tensor) -> Tensor:
    """[n, dim] of any length and precision -> float32 [n, dim], unit length, where it was."""
    return torch.nn.functional.normalize(features.float(), dim=-1)


Pending = Callable[[], Vectors]
"""Waits for a batch that was begun: float32 [n, dim], unit length. Raises MemoryError where it did not fit."""


class ImageForward(Protocol):
    """Prepared squares in, vectors of unit length out. One thread at a time."""

    @property
    def overlaps(self) -> bool:
        """Whether the device works by itself, so that a batch may be begun ahead of the one that is waited for."""
        ...

    def begin(self, batch: Pixels) -> Pending:
        """batch: uint8 [n, s, s, 3]. Where the device works by itself, this returns while it does; elsewhere the work
        is done by then. Raises MemoryError where the batch does not fit. What is begun first is waited for first.
        """
        ...


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


def use_at_most(cores: int) -> None:
    """On this thread and every one that begins to compute afterwards; OpenVINO asks torch.

    By itself torch counts the cores that it may run on, not the time that a container is granted on them: threads
    beyond that stand still, all at once, until the next tenth of a second.
    OMP_NUM_THREADS is somebody's word and stays.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
