"""Tags from a guild's labels and a channel's tagging mode."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from structlog.testing import capture_logs

from bot.indexing.labels import SHIPPED, LabelBook, NamedLabel, ShippedLabels, shipped_labels
from bot.indexing.tagger import MAX_CLASSIFIERS, Tagged, Tagger
from bot.label_names import is_label_name, label_key
from bot.models import ChannelRef, TaggingMode
from bot.store.guilds import ChannelStore
from bot.store.labels import DEFAULT, GuildLabels, LabelSet, LabelStore, OwnLabel
from clipcore.errors import EncodingFailed, QueueFull
from clipcore.types import Label
from tests.indexing.pipeline import DEFAULTS
from tests.indexing.support import GUILD, FakeEngine, axis, channel_ref, only, until

CHANNEL = channel_ref()
ONE = axis(0)[np.newaxis]


class Tagging:
    """A Tagger on a real database."""

    def __init__(self, engine: FakeEngine, labels: LabelStore, channels: ChannelStore) -> None:
        self.tagger = Tagger(engine, labels, channels, ShippedLabels(DEFAULTS))

    async def tags(self, channel: ChannelRef = CHANNEL) -> list[str]:
        [tags] = (await self.tagger.tag(channel, ONE)).tags
        return [tag.label for tag in tags]

    async def mode(self, channel: ChannelRef) -> TaggingMode:
        return (await self.tagger.tag(channel, ONE)).mode


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def tagging(engine: FakeEngine, labels: LabelStore, channels: ChannelStore) -> Tagging:
    return Tagging(engine, labels, channels)


async def test_a_guild_without_labels_of_its_own_gets_the_defaults(engine: FakeEngine, tagging: Tagging) -> None:
    tagged = await tagging.tagger.tag(CHANNEL, ONE)
    [[tag]] = tagged.tags
    assert (tagged.mode, tagged.labels_version) == (TaggingMode.SILENT, 0)
    assert (tag.label, tag.probability) == ("cat", pytest.approx(0.9))
    assert engine.classifiers == [(Label("cat", ("a cat",)), Label("dog"))]


async def test_a_changed_label_holds_once_the_cache_is_invalidated(tagging: Tagging, labels: LabelStore) -> None:
    await tagging.tags()
    await labels.change(GUILD, None, only("sofa"))
    await tagging.tagger.invalidate(GUILD)
    assert await tagging.tags() == ["sofa"]
    await labels.change(GUILD, None, lambda _: None)
    await tagging.tagger.invalidate(GUILD)
    assert await tagging.tags() == ["cat"]


async def test_a_read_that_began_before_a_change_is_not_cached_after_it(
    engine: FakeEngine, labels: LabelStore, channels: ChannelStore
) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    class Slow(LabelStore):
        async def of_guild(self, guild_id: int) -> GuildLabels:
            found = await labels.of_guild(guild_id)
            reading.set()
            await go_on.wait()
            return found

    slow = Slow.__new__(Slow)
    tagging = Tagging(engine, slow, channels)
    first = asyncio.create_task(tagging.tags())
    await reading.wait()
    await labels.change(GUILD, None, only("sofa"))
    invalidated = asyncio.create_task(tagging.tagger.invalidate(GUILD))
    await asyncio.sleep(0)
    go_on.set()
    await invalidated
    assert await first == ["cat"]
    assert await tagging.tags() == ["sofa"]


async def test_a_guild_that_removed_every_label_gets_no_tags(tagging: Tagging, labels: LabelStore) -> None:
    await labels.change(GUILD, None, only())
    assert await tagging.tags() == []


async def test_each_channel_has_its_own_mode_and_off_means_no_tags(tagging: Tagging, channels: ChannelStore) -> None:
    off, reply = channel_ref(2), channel_ref(3)
    await channels.set_tagging_mode(off, TaggingMode.OFF)
    await channels.set_tagging_mode(reply, TaggingMode.REPLY)
    assert await tagging.tagger.tag(off, ONE) == Tagged(TaggingMode.OFF, 0, ((),))
    assert await tagging.mode(reply) is TaggingMode.REPLY
    assert await tagging.mode(channel_ref(4)) is TaggingMode.SILENT
    await channels.set_tagging_mode(off, TaggingMode.REACTION)
    await tagging.tagger.invalidate(GUILD)
    assert await tagging.mode(off) is TaggingMode.REACTION


@pytest.mark.parametrize("word", ["猫", "Kitty", "CAT", " cat "])
async def test_a_known_name_in_either_language_is_described_as_the_default_and_keeps_its_name(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore, word: str
) -> None:
    await labels.change(GUILD, None, only(word))
    assert await tagging.tags() == [word]
    assert engine.classifiers == [(Label(word, ("a cat",)),)]


async def test_guilds_with_the_same_labels_share_one_classifier(engine: FakeEngine, tagging: Tagging) -> None:
    await asyncio.gather(*(tagging.tags(ChannelRef(guild, guild)) for guild in range(1, 20)))
    assert len(engine.classifiers) == 1


async def test_the_least_recently_used_classifier_is_dropped(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore
) -> None:
    for guild in range(1, MAX_CLASSIFIERS + 3):
        await labels.change(guild, None, only(f"word {guild}"))
        await tagging.tags(ChannelRef(guild, guild))
    await tagging.tags(ChannelRef(MAX_CLASSIFIERS + 2, 1))
    await tagging.tags(ChannelRef(1, 1))
    assert len(engine.classifiers) == MAX_CLASSIFIERS + 3, "the newest was kept, the oldest built again"


async def test_a_slow_classifier_of_one_guild_does_not_hold_up_another(
    engine: FakeEngine, tagging: Tagging, labels: LabelStore
) -> None:
    await labels.change(1, None, only("slow"))
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
    await labels.change(1, None, only("sofa"))
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
    check_set(shipped_labels(model_id).sets[DEFAULT], least)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_sets_are_complete_and_unique(name: str) -> None:
    labels = shipped_labels("any").sets[name]
    check_set(labels, 60)
    assert len(labels) <= 210
    assert all(is_label_name(word) for label in labels for word in (label.en, label.zh, *label.synonyms))
    names: dict[str, str] = {}
    for label in labels:
        for word in {label_key(word) for word in (label.en, label.zh, *label.synonyms)}:
            assert names.setdefault(word, label.id) == label.id, word


def check_set(labels: tuple[NamedLabel, ...], least: int) -> None:
    assert len(labels) >= least
    for field in ("id", "emoji", "en", "zh"):
        values = [getattr(label, field) for label in labels]
        assert all(values), field
        assert len(set(values)) == len(values), field
    assert all(label.phrases and "{" not in "".join(label.phrases) for label in labels)
    assert all(not label.emoji.isascii() for label in labels)


async def test_an_image_gets_each_label_that_reaches_its_own_threshold(
    engine: FakeEngine, labels: LabelStore, channels: ChannelStore
) -> None:
    """50 is the model's threshold, whatever that is."""
    engine.probabilities = [0.31, 0.29, 0.29, 0.31, 0.9, 0.28]
    own = [("usual", None), ("too low", None), ("lenient", 40), ("strict", 60), ("high", 60), ("very lenient", 1)]
    wanted = LabelSet((), tuple(OwnLabel(name, threshold=threshold) for name, threshold in own))
    await labels.change(GUILD, None, lambda _: wanted)
    tagging = Tagging(engine, labels, channels)
    assert await tagging.tags() == ["high", "usual", "lenient", "very lenient"]
    scores = await tagging.tagger.scores(CHANNEL, ONE[0])
    assert [(one.label.name, one.needed, one.given) for one in scores] == [
        ("high", 60, True),
        ("usual", 50, True),
        ("strict", 60, False),
        ("too low", 50, False),
        ("lenient", 40, True),
        ("very lenient", 1, True),
    ]
    assert scores[0].score > 90
    assert all((one.score >= one.needed) == one.given for one in scores)


async def test_a_tag_has_the_language_of_its_label(tagging: Tagging, labels: LabelStore) -> None:
    await labels.change(GUILD, None, lambda _: LabelSet((), (OwnLabel("猫", language="zh"),)))
    [[tag]] = (await tagging.tagger.tag(CHANNEL, ONE)).tags
    assert (tag.label, tag.language) == ("猫", "zh")


async def test_a_channel_with_labels_of_its_own_is_tagged_with_those(tagging: Tagging, labels: LabelStore) -> None:
    here, thread = channel_ref(5), channel_ref(6, parent=5)
    await labels.change(GUILD, here, only("sofa"))
    assert [await tagging.tags(place) for place in (here, thread, CHANNEL)] == [["sofa"], ["sofa"], ["cat"]]


async def test_prompts_describe_a_label_of_ones_own(engine: FakeEngine, tagging: Tagging, labels: LabelStore) -> None:
    await labels.change(GUILD, None, lambda _: LabelSet((), (OwnLabel("cat", ("our cat", "Tom")), OwnLabel("dog"))))
    await tagging.tags()
    assert engine.classifiers == [(Label("cat", ("our cat", "Tom")), Label("dog"))]


def test_a_labels_own_name_precedes_another_labels_synonym() -> None:
    book = LabelBook([NamedLabel("a", "🅰️", "big cat", "大猫", ("lion",)), NamedLabel("b", "🦁", "lion", "狮子")])
    found = book.find("Lion")
    assert found is not None
    assert found.id == "b"
    assert book.find("tiger") is None
