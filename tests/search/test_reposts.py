"""Which earlier image a new one repeats, whatever was posted when by whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.models import ChannelRef, Image, ImageRef, ImageState, RepostKind, Source, first_message_at
from bot.search.reposts import OWN_REPOST_AFTER, SAME_PICTURE_BITS, counts, is_allowed, kind_of, reposts_of
from clipcore.images.perceptual_hash import FLAT, hash_distance

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)  # noqa: UP017 - as strategies give it
NEAR = 0.95
MONTH = timedelta(days=30)
HASH = "0f0f0f0f0f0f0f0f"


def flipped(bits: int) -> str:
    """HASH with this many bits changed."""
    return f"{int(HASH, 16) ^ ((1 << bits) - 1):016x}"


def posted(ago: timedelta = timedelta(), **changes: object) -> Image:
    ref = ImageRef(ChannelRef(1, 2), first_message_at(NOW - ago), 100, Source.ATTACHMENT, 7)
    of_ref = {name: changes.pop(name) for name in ("author_id", "source", "spoiler") if name in changes}
    values = {"content_hash": "a", "perceptual_hash": HASH, **changes}
    return replace(Image(1, replace(ref, **of_ref), ImageState.READY), **values)


new = posted(author_id=8)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("earlier", "score", "kind"),
    [
        (posted(DAY), 1.0, RepostKind.FILE),
        (posted(DAY, perceptual_hash=None), 1.0, RepostKind.FILE),
        (posted(DAY, content_hash="b", perceptual_hash=flipped(SAME_PICTURE_BITS)), 0.7, RepostKind.PICTURE),
        (posted(DAY, content_hash="b", perceptual_hash=flipped(SAME_PICTURE_BITS + 1)), NEAR, RepostKind.SIMILAR),
        (posted(DAY, content_hash="b", perceptual_hash=None), NEAR, RepostKind.SIMILAR),
        (posted(DAY, content_hash="b", perceptual_hash=flipped(SAME_PICTURE_BITS + 1)), NEAR - 0.01, None),
        (posted(DAY, perceptual_hash=FLAT), 1.0, None),
    ],
)
def test_the_kinds_are_told_apart(earlier: Image, score: float, kind: RepostKind | None) -> None:
    assert kind_of(new, earlier, score, NEAR) is kind
    assert [one.kind for one in reposts_of(new, [(earlier, score)], near_copy=NEAR, within=MONTH)] == [kind][
        : kind is not None
    ]


@pytest.mark.parametrize(
    "earlier",
    [
        posted(timedelta(days=31)),
        posted(-DAY),
        posted(),
        posted(DAY, spoiler=True),
        posted(DAY, source=Source.PREVIEW),
        posted(DAY, source=Source.STICKER),
        posted(OWN_REPOST_AFTER - timedelta(minutes=1), author_id=8),
    ],
    ids=["too long ago", "later", "same message", "spoiler", "link", "sticker", "own, a moment ago"],
)
def test_what_does_not_count_as_an_earlier_post(earlier: Image) -> None:
    assert reposts_of(new, [(earlier, 1.0)], near_copy=NEAR, within=MONTH) == []


def test_others_may_not_repeat_within_the_hour_and_the_poster_may_not_afterwards() -> None:
    for earlier in (posted(timedelta(seconds=1)), posted(OWN_REPOST_AFTER, author_id=8)):
        assert len(reposts_of(new, [(earlier, 1.0)], near_copy=NEAR, within=MONTH)) == 1


@pytest.mark.parametrize(
    "change", [{"spoiler": True}, {"source": Source.PREVIEW}, {"source": Source.FORWARD}, {"perceptual_hash": FLAT}]
)
def test_of_spoilers_links_forwards_and_flat_pictures_nothing_is_told(change: dict[str, object]) -> None:
    silent = posted(author_id=8, **change)
    assert not counts(silent)
    assert reposts_of(silent, [(posted(DAY), 1.0)], near_copy=NEAR, within=MONTH) == []


def test_the_plainest_kind_comes_first_and_then_the_earliest_post() -> None:
    alike = [
        (posted(DAY, content_hash="b", perceptual_hash=flipped(30)), 0.99),
        (posted(2 * DAY, content_hash="b"), 0.98),
        (posted(3 * DAY), 1.0),
        (posted(4 * DAY), 1.0),
        (posted(5 * DAY, content_hash="b"), 0.97),
    ]
    found = reposts_of(new, alike, near_copy=NEAR, within=MONTH)
    assert [(NOW - one.earlier.ref.created_at) // DAY for one in found] == [4, 3, 5, 2, 1]


@pytest.mark.parametrize(
    ("earlier", "allowed"),
    [
        (posted(DAY, reposts_allowed=True), True),
        (posted(DAY, content_hash="b", reposts_allowed=True), True),
        (posted(DAY, content_hash="b", perceptual_hash=flipped(30), reposts_allowed=True), False),
        (posted(DAY), False),
    ],
    ids=["file", "picture", "similar only", "not allowed"],
)
def test_a_picture_that_a_moderator_allowed_is_known_again(earlier: Image, allowed: bool) -> None:
    assert is_allowed(new, [(posted(DAY, content_hash="c"), 0.9), (earlier, 0.99)], near_copy=NEAR) is allowed


hashes = st.one_of(st.none(), st.just(FLAT), st.integers(0, 2**64 - 1).map(lambda bits: f"{bits:016x}"))
images = st.builds(
    posted,
    st.timedeltas(timedelta(days=-5), timedelta(days=60)),
    author_id=st.integers(7, 9),
    source=st.sampled_from(Source),
    spoiler=st.booleans(),
    content_hash=st.sampled_from([None, "a", "b"]),
    perceptual_hash=hashes,
)


@given(images, st.lists(st.tuples(images, st.floats(-1, 1)), max_size=8), st.integers(1, 50))
def test_whatever_was_posted_a_notice_has_a_reason(image: Image, alike: list[tuple[Image, float]], days: int) -> None:
    within = timedelta(days=days)
    for repost in reposts_of(image, alike, near_copy=NEAR, within=within):
        earlier = repost.earlier
        assert (earlier, repost.score) in alike
        assert not image.ref.spoiler and not earlier.ref.spoiler  # noqa: PT018 - one rule
        assert image.ref.source is Source.ATTACHMENT
        assert FLAT not in (image.perceptual_hash, earlier.perceptual_hash)
        age = image.ref.created_at - earlier.ref.created_at
        assert timedelta() <= age <= within
        assert age >= OWN_REPOST_AFTER or image.ref.author_id != earlier.ref.author_id
        match repost.kind:
            case RepostKind.FILE:
                assert image.content_hash == earlier.content_hash is not None
            case RepostKind.PICTURE:
                assert hash_distance(image.perceptual_hash or "", earlier.perceptual_hash or "") <= SAME_PICTURE_BITS
            case RepostKind.SIMILAR:
                assert repost.score >= NEAR
