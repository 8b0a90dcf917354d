from __future__ import annotations

DEFAULTS = ("cat", "dog")


async def test_a_server_starts_with_the_defaults(labels):
    assert await labels.labels(1) is None


async def test_the_first_change_starts_from_what_was_in_force(labels):
    assert await labels.add(1, "sofa", DEFAULTS)
    assert await labels.labels(1) == ["cat", "dog", "sofa"]
    assert await labels.remove(2, "cat", DEFAULTS)
    assert await labels.labels(2) == ["dog"]


async def test_later_changes_look_at_the_servers_own_labels_only(labels):
    await labels.add(1, "sofa", DEFAULTS)
    await labels.remove(1, "cat", DEFAULTS)
    await labels.add(1, "lamp", DEFAULTS)
    assert await labels.labels(1) == ["dog", "sofa", "lamp"]


async def test_a_label_is_there_once_whatever_its_case(labels):
    await labels.add(1, "Straße")
    assert not await labels.add(1, "STRASSE")
    assert not await labels.add(3, "CAT", DEFAULTS)
    assert await labels.labels(3) is None
    assert await labels.remove(1, "strasse")
    assert not await labels.remove(1, "strasse")


async def test_a_server_may_have_no_labels_at_all_which_is_not_the_defaults(labels):
    await labels.add(1, "cat")
    await labels.remove(1, "cat")
    assert await labels.labels(1) == []


async def test_a_reset_brings_the_defaults_back(labels):
    await labels.add(1, "sofa", DEFAULTS)
    await labels.reset(1)
    assert await labels.labels(1) is None
    await labels.reset(77)
    assert await labels.labels(77) is None


async def test_servers_do_not_share_labels(labels):
    await labels.add(1, "cat")
    await labels.add(2, "dog")
    assert (await labels.labels(1), await labels.labels(2)) == (["cat"], ["dog"])
