"""Which images answer a question and in what order, decided from plain data: what matches, what is left out, what is
folded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bot.models import Image, Ranked
from clipcore.types import SearchHit, Vectors

# How much of the likeness to what a question avoids is subtracted from a match's score.
_AVOIDANCE = 0.5
# How much of the difference between high places in a ranking counts; as in the paper.
_FUSION = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """What an answer shows in one place. others: the near copies that it stands for, best first. written: whether the
    words of the query stand in one of them.
    """

    image: Image
    score: float
    others: tuple[Image, ...] = ()
    written: bool = False


def select_matches(
    hits: Sequence[SearchHit],
    images: Mapping[int, Image],
    *,
    exclude: Collection[int] = (),
    exclude_message: int | None = None,
    one_per_content: bool = False,
) -> list[tuple[Image, float]]:
    """The hits that may be shown, with their scores: not excluded, and still stored.

    hits: best first. images: the stored images of these hits, by id. one_per_content: of identical files keep the best.
    """
    found: list[tuple[Image, float]] = []
    contents: set[str] = set()
    for hit in hits:
        image = images.get(hit.key)
        if image is None or image.id in exclude or image.ref.message_id == exclude_message:
            continue
        if one_per_content and image.content_hash is not None:
            if image.content_hash in contents:
                continue
            contents.add(image.content_hash)
        found.append((image, hit.score))
    return found


def fuse(alike: Sequence[SearchHit], written: Sequence[SearchHit]) -> list[SearchHit]:
    """The hits of two rankings of one question in one, by reciprocal rank fusion (Cormack et al. 2009): what stands
    high in either comes first, and what stands in both before that. Scores cannot be compared; places can.

    alike: by the likeness to what the words describe; written: those in which the words stand, which count for more
    where the places are equal.
    """
    merit: defaultdict[int, float] = defaultdict(float)
    for ranking in (written, alike):
        for place, hit in enumerate(ranking):
            merit[hit.key] += 1 / (_FUSION + place)
    hits = {hit.key: hit for hit in (*written, *alike)}
    return sorted(hits.values(), key=lambda hit: -merit[hit.key])


def steer_away(hits: Sequence[SearchHit], likeness: Vectors, threshold: float) -> list[SearchHit]:
    """Leaves out the hits that show what is to be avoided, and puts those further back that are a little like it.

    likeness: float32 [n], the hits' scores for what is to be avoided. Scores stay those for what was asked for.
    """
    kept = [(hit, float(avoided)) for hit, avoided in zip(hits, likeness, strict=True) if avoided < threshold]
    return [hit for hit, avoided in sorted(kept, key=lambda one: one[0].score - _AVOIDANCE * one[1], reverse=True)]


def look_numbers(vectors: Vectors, threshold: float) -> list[int]:
    """For each row the number of the first that it is a near copy of, itself mostly. No chains form: each is like the
    row that it names.

    vectors: float32 [n, dim], unit length; the preferred ones first. threshold: the cosine of near copies.
    """
    first: list[int] = []
    for row, alike in enumerate(vectors @ vectors.T >= threshold):
        led_by = [earlier for earlier in np.flatnonzero(alike[:row]).tolist() if first[earlier] == earlier]
        first.append(led_by[0] if led_by else row)
    return first


def fold(ranking: Sequence[Ranked], images: Mapping[int, Image], *, folded: bool) -> list[Entry]:
    """The entries of an answer, in its order. folded: near copies are one entry, which shows the largest of them.

    images: those that may be shown, by id.
    """
    looks: dict[int, list[Ranked]] = {}
    for ranked in ranking:
        if ranked.image_id in images:
            looks.setdefault(ranked.look if folded else ranked.image_id, []).append(ranked)
    entries = []
    for alike in looks.values():
        largest = max(alike, key=lambda ranked: _pixels(images[ranked.image_id]))
        others = tuple(images[ranked.image_id] for ranked in alike if ranked is not largest)
        written = any(ranked.written for ranked in alike)
        entries.append(Entry(images[largest.image_id], alike[0].score, others, written))
    return entries


def is_foldable(ranking: Sequence[Ranked]) -> bool:
    """Whether it has near copies."""
    return len({ranked.look for ranked in ranking}) < len(ranking)


def _pixels(image: Image) -> int:
    return (image.width or 0) * (image.height or 0)
