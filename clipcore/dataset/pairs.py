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
    problems: what was left out, in the order it was met.

    A picture may have several captions (Flickr30k has five). text_of: int64 [captions], where one text tells of several
    pictures, as in MUGE, and so stands among the captions once for each: equal for what is the same text. None where
    each caption is a text of its own, even if two read alike.
    """

    captions: Sequence[str]
    picture_of: npt.NDArray[np.int64]
    pictures: Sequence[PictureSource]
    problems: Sequence[Problem] = ()
    text_of: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.captions)
