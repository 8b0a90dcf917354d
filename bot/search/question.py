"""Question: what is asked of the search, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.models import EVERY_IMAGE, Asked, ImageFilter, Sort
from clipcore.types import Vectors


@dataclass(frozen=True, slots=True)
class Question:
    """What to search for. With neither words nor an image, everything that the filter leaves, by time.

    image: an embedding, float32 [dim], unit length. model: the key of the model that made it, where that may have been
    replaced since. unlike: words for what to leave out. channels: only these, with
    their threads; None means all. left_out: ids of images, left_out_message: that of a message whose images are not
    shown. every_post: whether each post of a file counts as a match, and not only the best. folded: whether near copies
    are shown once. page_size: None means as many as usual. limit: how many matches are wanted at most.
    """

    words: str | None = None
    image: Vectors | None = field(default=None, compare=False)
    model: str | None = field(default=None, compare=False)
    unlike: str | None = None
    channels: frozenset[int] | None = None
    filter: ImageFilter = EVERY_IMAGE
    sort: Sort = Sort.BEST
    left_out: frozenset[int] = frozenset()
    left_out_message: int | None = None
    every_post: bool = False
    folded: bool = False
    page_size: int | None = None
    limit: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether leaving out a condition could find more."""
        refined = self.words is not None and self.image is not None
        return self.filter != EVERY_IMAGE or self.channels is not None or self.unlike is not None or refined

    @property
    def asked(self) -> Asked:
        if self.words is not None:
            return Asked.WORDS
        return Asked.LIKENESS if self.image is not None else Asked.FILTER
