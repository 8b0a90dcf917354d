"""What is kept about notices of reposts: by channel, by role and by image."""

from __future__ import annotations

import pytest

from bot.models import ChannelRef, RepostNotice, RepostRules, ThreadKind
from bot.store.reposts import RepostStore
from tests.store.samples import CARD, finished, ref

PLACE, THREAD = ChannelRef(1, 2), ChannelRef(1, 3, 2, ThreadKind.PUBLIC)
REPLY, REACTION = RepostRules(RepostNotice.REPLY, 7), RepostRules(RepostNotice.REACTION, 90)


@pytest.fixture
def reposts(images) -> RepostStore:
    return RepostStore(images._database)


async def test_nothing_is_told_where_nothing_was_chosen(reposts) -> None:
    assert (await reposts.rules_of(PLACE)).notice is RepostNotice.OFF
    assert await reposts.chosen(1) == {}
    assert await reposts.exempt_roles(1) == frozenset()


async def test_a_thread_has_the_rules_of_its_channel_until_it_has_its_own(reposts) -> None:
    await reposts.set_rules(PLACE, REPLY)
    assert await reposts.rules_of(THREAD) == REPLY
    await reposts.set_rules(THREAD, REACTION)
    assert await reposts.rules_of(THREAD) == REACTION
    assert await reposts.chosen(1) == {PLACE: REPLY, THREAD: REACTION}
    assert await reposts.chosen(2) == {}
    await reposts.set_rules(THREAD, RepostRules())
    assert (await reposts.rules_of(THREAD)).notice is RepostNotice.OFF


async def test_roles_are_exempt_in_their_server_until_they_are_not(reposts) -> None:
    await reposts.set_exempt(1, 80, exempt=True)
    await reposts.set_exempt(1, 80, exempt=True)
    await reposts.set_exempt(1, 81, exempt=True)
    await reposts.set_exempt(2, 82, exempt=True)
    await reposts.set_exempt(1, 80, exempt=False)
    assert await reposts.exempt_roles(1) == {81}


async def test_a_deleted_channel_or_server_keeps_nothing_of_it(reposts, images) -> None:
    await reposts.set_rules(PLACE, REPLY)
    await reposts.set_exempt(1, 80, exempt=True)
    await images.forget_channel(2)
    await reposts.set_rules(PLACE, REPLY)
    assert await reposts.chosen(1) == {}
    await images.forget_guild(1)
    await reposts.set_exempt(1, 80, exempt=True)
    assert await reposts.exempt_roles(1) == frozenset()


async def test_an_image_keeps_its_perceptual_hash_and_identical_files_share_it(reposts, images) -> None:
    [image] = await images.accept([ref(10)])
    await images.finish([finished(image.id, content_hash="same", perceptual_hash="00ff00ff00ff00ff")], CARD)
    [stored] = await images.by_message(10)
    assert (stored.perceptual_hash, stored.reposts_allowed) == ("00ff00ff00ff00ff", False)
    known = await images.embedding_of_hash(1, "same", CARD.key)
    assert known.perceptual_hash == "00ff00ff00ff00ff"
    await reposts.allow([image.id, 12345])
    [stored] = await images.by_message(10)
    assert stored.reposts_allowed
