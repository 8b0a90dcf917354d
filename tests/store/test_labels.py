"""Which labels a guild chose, for itself and for single channels."""

from __future__ import annotations

import pytest

from bot.models import ChannelRef, ThreadKind
from bot.store.labels import DEFAULT, NOTHING_CHOSEN, LabelSet, OwnLabel
from bot.store.retagging import Progress

HERE, OTHER, THREAD = ChannelRef(1, 2), ChannelRef(1, 4), ChannelRef(1, 3, 2, ThreadKind.PUBLIC)
FULL = LabelSet(
    ("photographs", "games"),
    (OwnLabel("猫", ("一只猫", "a cat"), 70, "zh"), OwnLabel("our mascot")),
    ("dog", "Ｂird"),
)


def to(wanted: LabelSet | None):
    return lambda _: wanted


async def test_a_guild_has_the_default_labels_at_first(labels):
    chosen = await labels.of_guild(1)
    assert (chosen.version, chosen.server, chosen.of(HERE)) == (0, None, NOTHING_CHOSEN)
    assert chosen.of(HERE).shipped == (DEFAULT,)


async def test_a_set_is_read_as_it_was_written(labels):
    assert (await labels.change(1, None, to(FULL))).server == FULL
    assert (await labels.of_guild(1)).of(THREAD) == FULL


async def test_a_channel_has_labels_of_its_own_and_its_threads_inherit_them(labels):
    await labels.change(1, None, to(FULL))
    begun_from = []
    own = LabelSet((), (OwnLabel("sofa"),))
    await labels.change(1, HERE, lambda before: begun_from.append(before) or own)
    assert begun_from == [FULL], "the first change of a channel starts from what applies there"
    chosen = await labels.of_guild(1)
    assert [chosen.of(place) for place in (HERE, THREAD, OTHER, None)] == [own, own, FULL, FULL]
    in_thread = LabelSet((), (OwnLabel("lamp"),))
    chosen = await labels.change(1, THREAD, to(in_thread))
    assert [chosen.of(place) for place in (HERE, THREAD)] == [own, in_thread]


async def test_a_reset_of_a_channel_follows_the_server_again_and_of_the_server_the_defaults(labels):
    await labels.change(1, None, to(FULL))
    await labels.change(1, HERE, to(LabelSet(())))
    assert (await labels.change(1, HERE, to(None))).of(HERE) == FULL
    assert (await labels.change(1, None, to(None))).of(HERE) == NOTHING_CHOSEN
    assert (await labels.change(77, None, to(None))).version == 0


async def test_no_labels_at_all_are_not_the_defaults(labels):
    chosen = await labels.change(1, None, to(LabelSet(())))
    assert chosen.of(HERE) == LabelSet(())


async def test_guilds_do_not_share_labels(labels):
    await labels.change(1, None, to(FULL))
    await labels.change(9, None, to(LabelSet((), (OwnLabel("dog"),))))
    assert (await labels.of_guild(1)).server == FULL


async def test_an_edit_that_refuses_changes_nothing(labels):
    await labels.change(1, None, to(FULL))

    def refuse(_):
        raise LookupError

    with pytest.raises(LookupError):
        await labels.change(1, None, refuse)
    chosen = await labels.of_guild(1)
    assert (chosen.version, chosen.server) == (1, FULL)


async def test_each_change_and_nothing_else_has_the_images_tagged_again(labels, retaggings):
    assert await retaggings.guild_ids() == []
    await labels.change(1, None, to(FULL))
    assert await retaggings.progress(1) == Progress(0, None)
    assert (await labels.change(1, None, to(FULL))).version == 1, "the same labels"
    assert (await labels.change(1, HERE, to(LabelSet(())))).version == 2
    assert await retaggings.guild_ids() == [1]


async def test_a_deleted_guild_or_channel_gets_no_labels_and_loses_those_it_had(labels, images, retaggings):
    await labels.change(1, HERE, to(FULL))
    await images.forget_channel(2)
    assert (await labels.change(1, THREAD, to(FULL))).channels == {}
    await images.forget_guild(1)
    assert await retaggings.guild_ids() == []
    assert (await labels.change(1, None, to(FULL))).server is None
