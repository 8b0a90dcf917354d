"""Captions and the pictures that they tell of: what retrieval is measured on and training learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipcore.features import PictureSource


@dataclass(frozen=True, slots=True)
class Problem:
    """A row or file that could not be used. name: what a person finds it by, such as "row 12"; reason: one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """captions: in memory. picture_of: int64 [captions], each caption's row in `pictures`. pictures: read when wanted.

    A picture may have several captions (Flickr30k has five). name: the data set's, where it is a known one.
    problems: what was left out, in the order it was met.
    """

    captions: Sequence[str]
    picture_of: npt.NDArray[np.int64]
    pictures: Sequence[PictureSource]
    name: str = ""
    problems: Sequence[Problem] = ()

    def __len__(self) -> int:
        return len(self.captions)
