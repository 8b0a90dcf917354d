"""Whether a new image repeats an earlier one, and which: decided from plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from bot.models import Image, RepostKind, Source
from clipcore.images.perceptual_hash import FLAT, hash_distance

SAME_PICTURE_BITS = 8
"""In how many bits the perceptual hashes of one picture may differ. Measured: copies that were scaled and encoded anew
differ in at most 3, other pictures in at least 13.
"""

OWN_REPOST_AFTER = timedelta(hours=1)
"""Who posts a picture again within this time is not told so: it went to another channel, or the message was corrected.
"""

_COUNTED = frozenset((Source.ATTACHMENT, Source.FORWARD))


@dataclass(frozen=True, slots=True)
class Repost:
    """score: cosine of the two images."""

    kind: RepostKind
    earlier: Image
    score: float


def counts(image: Image) -> bool:
    """Whether a notice may be about this image. Whoever shares a link or forwards a message says by that where it is
    from; stickers and emojis are there to be repeated. A notice would tell what a spoiler covers; and a flat picture
    is like any other.
    """
    return image.ref.source is Source.ATTACHMENT and not image.ref.spoiler and image.perceptual_hash != FLAT


def kind_of(new: Image, earlier: Image, score: float, near_copy: float) -> RepostKind | None:
    """near_copy: the least score of images that look much alike."""
    hashes = new.perceptual_hash, earlier.perceptual_hash
    if FLAT in hashes:
        return None
    if new.content_hash is not None and new.content_hash == earlier.content_hash:
        return RepostKind.FILE
    if hashes[0] is not None and hashes[1] is not None and hash_distance(hashes[0], hashes[1]) <= SAME_PICTURE_BITS:
        return RepostKind.PICTURE
    return RepostKind.SIMILAR if score >= near_copy else None


def reposts_of(
    new: Image, alike: Iterable[tuple[Image, float]], *, near_copy: float, within: timedelta
) -> list[Repost]:
    """What the image repeats: the plainest kind first, and of one kind the earliest post. alike: images with their
    scores. within: how long ago an earlier post may lie. Each image is taken as its message was last seen.
    """
    found = []
    for earlier, score in alike:
        age = new.ref.created_at - earlier.ref.created_at
        own = earlier.ref.author_id == new.ref.author_id and age < OWN_REPOST_AFTER
        before = earlier.ref.message_id < new.ref.message_id and age <= within
        shown = earlier.ref.source in _COUNTED and not earlier.ref.spoiler
        kind = kind_of(new, earlier, score, near_copy)
        if counts(new) and before and shown and not own and kind is not None:
            found.append(Repost(kind, earlier, score))
    order = list(RepostKind)
    return sorted(found, key=lambda repost: (order.index(repost.kind), repost.earlier.ref.message_id))


def is_allowed(new: Image, alike: Iterable[tuple[Image, float]], *, near_copy: float) -> bool:
    """Whether a moderator wants no notice of this picture."""
    same = RepostKind.FILE, RepostKind.PICTURE
    return any(earlier.reposts_allowed and kind_of(new, earlier, score, near_copy) in same for earlier, score in alike)
