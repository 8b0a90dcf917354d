from __future__ import annotations

DEFAULTS = ("cat", "dog")


async def test_a_guild_has_the_default_labels_at_first(labels):
    assert await labels.labels(1) is None


async def test_the_first_change_starts_from_the_defaults(labels):
    assert await labels.add(1, "sofa", DEFAULTS)
    assert await labels.labels(1) == ["cat", "dog", "sofa"]
    assert await labels.remove(2, "cat", DEFAULTS)
    assert await labels.labels(2) == ["dog"]


async def test_later_changes_ignore_the_defaults(labels):
    await labels.add(1, "sofa", DEFAULTS)
    await labels.remove(1, "cat", DEFAULTS)
    await labels.add(1, "lamp", DEFAULTS)
    assert await labels.labels(1) == ["dog", "sofa", "lamp"]


async def test_labels_differ_by_more_than_case(labels):
    await labels.add(1, "Straße")
    assert not await labels.add(1, "STRASSE")
    assert not await labels.add(3, "CAT", DEFAULTS)
    assert await labels.labels(3) is None
    assert await labels.remove(1, "strasse")
    assert not await labels.remove(1, "strasse")


async def test_a_guild_without_labels_does_not_have_the_defaults(labels):
    await labels.add(1, "cat")
    await labels.remove(1, "cat")
    assert await labels.labels(1) == []


async def test_a_reset_restores_the_defaults(labels):
    await labels.add(1, "sofa", DEFAULTS)
    await labels.reset(1)
    assert await labels.labels(1) is None
    await labels.reset(77)
    assert await labels.labels(77) is None


async def test_guilds_do_not_share_labels(labels):
    await labels.add(1, "cat")
    await labels.add(2, "dog")
    assert (await labels.labels(1), await labels.labels(2)) == (["cat"], ["dog"])
