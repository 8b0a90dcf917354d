"""Which of the ranked rows become the answer. Pure: no store, no engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bot.records import Hit, Picture, SearchAnswer
from clipcore.types import SearchHit


class Choice:
    """Takes ranked rows in growing helpings and keeps the best that may be answered.

    A picture is answered when its score reaches `threshold`, its row still exists, it is not excluded, and, with
    `one_per_content`, no better hit has the same file. `nothing_alike` needs at least one existing picture to have been
    searched, an excluded one included.
    """

    def __init__(
        self, limit: int, threshold: float, *, excluded: frozenset[int] = frozenset(), one_per_content: bool = False
    ) -> None:
        self.excluded = excluded
        self._limit = limit
        self._threshold = threshold
        self._one_per_content = one_per_content
        self._seen: set[int] = set()
        self._contents: set[str] = set()
        self._hits: list[Hit] = []
        self._searched = False
        self._all_weaker = False

    def unseen(self, ranked: Sequence[SearchHit]) -> Iterator[SearchHit]:
        """What of a larger helping is new."""
        return (hit for hit in ranked if hit.key not in self._seen)

    def take(self, ranked: Sequence[SearchHit], rows: Mapping[int, Picture]) -> list[int]:
        """rows: the pictures of the unseen hits that still exist. Returns the ids that do not."""
        gone = []
        for hit in list(self.unseen(ranked)):
            self._seen.add(hit.key)
            picture = rows.get(hit.key)
            if picture is None:
                gone.append(hit.key)
                continue
            self._searched = True
            if hit.score < self._threshold:
                self._all_weaker = True
            elif self._may_answer(picture):
                self._keep(Hit(picture, hit.score))
        return gone

    @property
    def complete(self) -> bool:
        """Whether a larger helping could not change the answer."""
        return len(self._hits) >= self._limit or self._all_weaker

    def answer(self) -> SearchAnswer:
        hits = tuple(self._hits[: self._limit])
        return SearchAnswer(hits, nothing_alike=self._searched and not hits)

    def _may_answer(self, picture: Picture) -> bool:
        repeated = self._one_per_content and picture.content_hash in self._contents
        return picture.id not in self.excluded and not repeated

    def _keep(self, hit: Hit) -> None:
        self._hits.append(hit)
        if hit.picture.content_hash is not None:
            self._contents.add(hit.picture.content_hash)
