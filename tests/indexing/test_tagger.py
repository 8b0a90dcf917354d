"""Tags in the words of the server, from the next image on."""

from __future__ import annotations

import asyncio

import pytest

from bot.indexing.labels import LabelBook, NamedLabel, default_labels
from bot.indexing.tagger import CLASSIFIERS_KEPT, Tagger
from bot.store.guilds import LabelStore
from clipcore.errors import EncodingFailed, QueueFull
from clipcore.types import Label
from tests.indexing.pipeline import DEFAULTS
from tests.indexing.support import GUILD, FakeEngine, axis


def tagger(engine: FakeEngine, labels: LabelStore) -> Tagger:
    return Tagger(engine, labels, DEFAULTS)


async def test_a_server_without_labels_of_its_own_gets_the_defaults(labels: LabelStore) -> None:
    engine = FakeEngine()
    [[tag]] = await tagger(engine, labels).tags(GUILD, [axis(0)])
    assert (tag.label, tag.probability) == ("cat", 0.9)
    assert engine.classifiers == [(Label("cat", ("a cat",)), Label("dog"))]


async def test_a_changed_label_holds_from_the_next_image_on(labels: LabelStore) -> None:
    room = tagger(FakeEngine(), labels)
    await room.tags(GUILD, [axis(0)])
    await labels.add(GUILD, "sofa")
    assert [tag.label for tag in (await room.tags(GUILD, [axis(0)]))[0]] == ["sofa"]
    await labels.reset(GUILD)
    assert [tag.label for tag in (await room.tags(GUILD, [axis(0)]))[0]] == ["cat"]


async def test_a_server_that_removed_every_label_gets_no_tags(labels: LabelStore) -> None:
    await labels.remove(GUILD, "cat", ["cat"])
    assert await tagger(FakeEngine(), labels).tags(GUILD, [axis(0)]) == [()]


@pytest.mark.parametrize("word", ["猫", "Kitty", "CAT", " cat "])
async def test_a_known_word_in_either_language_is_described_as_the_default_and_keeps_its_name(
    labels: LabelStore, word: str
) -> None:
    engine = FakeEngine()
    await labels.add(GUILD, word)
    [[tag]] = await tagger(engine, labels).tags(GUILD, [axis(0)])
    assert tag.label == word
    assert engine.classifiers == [(Label(word, ("a cat",)),)]


async def test_servers_with_the_same_labels_share_one_classifier(labels: LabelStore) -> None:
    engine = FakeEngine()
    room = tagger(engine, labels)
    await asyncio.gather(*(room.tags(guild, [axis(0)]) for guild in range(1, 20)))
    assert len(engine.classifiers) == 1


async def test_classifiers_do_not_pile_up(labels: LabelStore) -> None:
    engine = FakeEngine()
    room = tagger(engine, labels)
    for guild in range(1, CLASSIFIERS_KEPT + 3):
        await labels.add(guild, f"word {guild}")
        await room.tags(guild, [axis(0)])
    await room.tags(CLASSIFIERS_KEPT + 2, [axis(0)])
    await room.tags(1, [axis(0)])
    assert len(engine.classifiers) == CLASSIFIERS_KEPT + 3, "the newest was kept, the oldest built again"


async def test_a_label_that_cannot_be_encoded_costs_the_tags_and_not_the_image(labels: LabelStore) -> None:
    engine = FakeEngine()
    engine.classifier_error = EncodingFailed()
    assert await tagger(engine, labels).tags(GUILD, [axis(0)]) == [()]
    engine.classifier_error = QueueFull()
    with pytest.raises(QueueFull):
        await tagger(engine, labels).tags(GUILD, [axis(0)])


@pytest.mark.parametrize(("model_id", "least"), [("openai/clip-vit-base-patch32", 150), ("bundled", 600)])
def test_the_labels_that_ship_are_complete_and_without_doubles(model_id: str, least: int) -> None:
    labels = default_labels(model_id)
    assert len(labels) >= least
    for field in ("id", "emoji", "en", "zh"):
        values = [getattr(label, field) for label in labels]
        assert all(values), field
        assert len(set(values)) == len(values), field
    assert all(label.phrases and "{" not in "".join(label.phrases) for label in labels)
    assert all(not label.emoji.isascii() for label in labels)


def test_a_labels_own_name_goes_before_another_ones_synonym() -> None:
    book = LabelBook([NamedLabel("a", "🅰️", "big cat", "大猫", ("lion",)), NamedLabel("b", "🦁", "lion", "狮子")])
    found = book.find("Lion")
    assert found is not None
    assert found.id == "b"
    assert book.find("tiger") is None
