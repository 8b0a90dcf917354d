"""Tags from a guild's labels and a channel's tagging mode."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from bot.indexing.labels import LabelBook, NamedLabel, default_labels
from bot.indexing.tagger import MAX_CLASSIFIERS, Tagger
from bot.models import ChannelRef, TaggingMode
from bot.store.guilds import ChannelStore, LabelStore
from clipcore.errors import EncodingFailed, QueueFull
from clipcore.types import Label
from tests.indexing.pipeline import DEFAULTS
from tests.indexing.support import GUILD, FakeEngine, axis, channel_ref, until

CHANNEL = channel_ref()


class Tagging:
    """A Tagger on a real database."""

    def __init__(self, engine: FakeEngine, labels: LabelStore, channels: ChannelStore) -> None:
        self.tagger = Tagger(engine, labels, channels, DEFAULTS)

    async def tags(self, channel: ChannelRef = CHANNEL) -> list[str]:
        _, tags = await self.tagger.tag(channel, axis(0))
        return [tag.label for tag in tags]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def tagging(engine: FakeEngine, labels: LabelStore, channels: ChannelStore) -> Tagging:
    return Tagging(engine, labels, channels)


async def test_a_guild_without_labels_of_its_own_gets_the_defaults(engine: FakeEngine, tagging: Tagging) -> None:
    mode, [tag] = await tagging.tagger.tag(CHANNEL, axis(0))
    assert mode is TaggingMode.SILENT
    assert (tag.label, tag.probability) == ("cat", 0.9)
    assert engine.classifiers == [(Label("cat", ("a cat",)), Label("dog"))]


async def test_a_changed_label_holds_once_the_cache_is_invalidated(tagging: Tagging, labels: LabelStore) -> None:
    await tagging.tags()
    await labels.add(GUILD, "sofa")
    await tagging.tagger.invalidate(GUILD)
    assert await tagging.tags() == ["sofa"]
    await labels.reset(GUILD)
    await tagging.tagger.invalidate(GUILD)
    assert await tagging.tags() == ["cat"]


async def test_a_read_that_began_before_a_change_is_not_cached_after_it(
    engine: FakeEngine, labels: LabelStore, channels: ChannelStore
) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    class Slow(LabelStore):
        async def labels(self, guild_id: int) -> list[str] | None:
            found = await labels.labels(guild_id)
            reading.set()
            await go_on.wait()
            return found

    slow = Slow.__new__(Slow)
    tagging = Tagging(engine, slow, channels)
    first = asyncio.create_task(tagging.tags())
    await reading.wait()
    await labels.add(GUILD, "sofa")
    invalidated = asyncio.create_task(tagging.tagger.invalidate(GUILD))
    await asyncio.sleep(0)
    go_on.set()
    await invalidated
    assert await first == ["cat"]
    assert await tagging.tags() == ["sofa"]


async def test_a_guild_that_removed_every_label_gets_no_tags(tagging: Tagging, labels: LabelStore) -> None:
    await labels.remove(GUILD, "cat", ["cat"])
    assert await tagging.tags() == []


async def test_each_channel_has_its_own_mode_and_off_means_no_tags(tagging: Tagging, channels: ChannelStore) -> None:
    off, reply = channel_ref(2), channel_ref(3)
    await channels.set_tagging_mode(off, TaggingMode.OFF)
    await channels.set_tagging_mode(reply, TaggingMode.REPLY)
    assert await tagging.tagger.tag(off, axis(0)) == (TaggingMode.OFF, ())
    assert (await tagging.tagger.tag(reply, axis(0)))[0] is TaggingMode.REPLY
    assert (await tagging.tagger.tag(channel_ref(4), axis(0)))[0] is TaggingMode.SILENT
    await channels.set_tagging_mode(off, TaggingMode.REACTION)
    await tagging.tagger.invalidate(GUILD)
    assert (await tagging.tagger.tag(off, axis(0)))[0] is TaggingMode.REACTION


@pytest.mark.parametrize("word", ["猫", "Kitty", "CAT", " cat "])
async def test_a_known_name_in_either_language_is_described_as_the_default_and_keeps_its_name(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore, word: str
) -> None:
    await labels.add(GUILD, word)
    assert await tagging.tags() == [word]
    assert engine.classifiers == [(Label(word, ("a cat",)),)]


async def test_guilds_with_the_same_labels_share_one_classifier(engine: FakeEngine, tagging: Tagging) -> None:
    await asyncio.gather(*(tagging.tags(ChannelRef(guild, guild)) for guild in range(1, 20)))
    assert len(engine.classifiers) == 1


async def test_the_least_recently_used_classifier_is_dropped(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore
) -> None:
    for guild in range(1, MAX_CLASSIFIERS + 3):
        await labels.add(guild, f"word {guild}")
        await tagging.tags(ChannelRef(guild, guild))
    await tagging.tags(ChannelRef(MAX_CLASSIFIERS + 2, 1))
    await tagging.tags(ChannelRef(1, 1))
    assert len(engine.classifiers) == MAX_CLASSIFIERS + 3, "the newest was kept, the oldest built again"


async def test_a_slow_classifier_of_one_guild_does_not_hold_up_another(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore
) -> None:
    await labels.add(1, "slow")
    may_end = engine.slow_labels["slow"] = asyncio.Event()
    slow = asyncio.create_task(tagging.tags(ChannelRef(1, 1)))
    assert await tagging.tags() == ["cat"]
    assert not slow.done()
    may_end.set()
    assert await slow == ["slow"]


async def test_the_default_labels_are_prepared_at_the_start_and_kept_and_no_others_are(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore
) -> None:
    tagging.tagger.start()
    await until(lambda: len(engine.classifiers) == 1)
    assert await tagging.tags() == ["cat"]
    await labels.add(1, "sofa")
    assert await tagging.tags(ChannelRef(1, 1)) == ["sofa"]
    assert len(engine.classifiers) == 2
    assert engine.kept == engine.classifiers[:1]
    await tagging.tagger.close()


async def test_default_labels_that_cannot_be_prepared_are_tried_again_by_the_first_image(
    engine: FakeEngine, tagging: Tagging
) -> None:
    engine.classifier_error = EncodingFailed()
    with capture_logs() as logs:
        tagging.tagger.start()
        await until(lambda: bool(logs))
    engine.classifier_error = None
    assert await tagging.tags() == ["cat"]
    await tagging.tagger.close()


async def test_closing_does_not_wait_for_labels_that_are_being_prepared(engine: FakeEngine, tagging: Tagging) -> None:
    engine.slow_labels["cat"] = asyncio.Event()
    tagging.tagger.start()
    await until(lambda: len(engine.classifiers) == 1)
    await asyncio.wait_for(tagging.tagger.close(), 60)


async def test_a_label_that_cannot_be_encoded_costs_the_tags_and_not_the_image(
    engine: FakeEngine, tagging: Tagging
) -> None:
    engine.classifier_error = EncodingFailed()
    assert await tagging.tags() == []
    engine.classifier_error = QueueFull()
    with pytest.raises(QueueFull):
        await tagging.tags()


@pytest.mark.parametrize(("model_id", "least"), [("google/siglip2-base-patch32-256", 150), ("bundled", 600)])
def test_the_default_labels_are_complete_and_unique(model_id: str, least: int) -> None:
    labels = default_labels(model_id)
    assert len(labels) >= least
    for field in ("id", "emoji", "en", "zh"):
        values = [getattr(label, field) for label in labels]
        assert all(values), field
        assert len(set(values)) == len(values), field
    assert all(label.phrases and "{" not in "".join(label.phrases) for label in labels)
    assert all(not label.emoji.isascii() for label in labels)


def test_a_labels_own_name_precedes_another_labels_synonym() -> None:
    book = LabelBook([NamedLabel("a", "🅰️", "big cat", "大猫", ("lion",)), NamedLabel("b", "🦁", "lion", "狮子")])
    found = book.find("Lion")
    assert found is not None
    assert found.id == "b"
    assert book.find("tiger") is None
