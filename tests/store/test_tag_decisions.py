"""What members decide about tags holds, whatever the labels give an image later."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bot.errors import TooManyTags
from bot.label_names import label_key
from bot.models import ImageState, Tag, TagDecision
from bot.store.database import Database
from bot.store.images import ImageStore
from bot.store.labels import LabelSet, LabelStore, OwnLabel
from bot.store.retagging import RetaggingStore
from bot.store.tags import MAX_DECISIONS, TagStore, decided
from tests.empty_database import empty_database
from tests.store.damage import flip_a_byte
from tests.store.samples import CARD, NOON, OTHER, finished, ref

NAMES = ("cat", "Cat", "ＣＡＴ", "dog", "DOG\u200b", "猫", "café", "cafe\u0301")
names = st.sampled_from(NAMES)
tags_given = st.lists(st.builds(Tag, names, st.floats(0, 1)), max_size=5)
decisions_made = st.lists(st.builds(TagDecision, names, st.booleans()), max_size=6)


@given(tags_given, decisions_made)
def test_a_removed_label_is_never_among_the_tags_and_a_kept_one_always(scored, decisions) -> None:
    tags = decided(scored, decisions)
    keys = [label_key(tag.label) for tag in tags]
    last = {label_key(one.label): one.kept for one in decisions}
    assert len(keys) == len(set(keys))
    assert {key for key, kept in last.items() if kept} == {label_key(tag.label) for tag in tags if tag.confirmed}
    assert not {key for key, kept in last.items() if not kept} & set(keys)
    assert {label_key(tag.label) for tag in scored} - last.keys() == {
        label_key(tag.label) for tag in tags if not tag.confirmed
    }


def test_what_members_keep_comes_first_and_the_rest_by_probability() -> None:
    scored = [Tag("a", 0.2), Tag("b", 0.9), Tag("c", 0.5)]
    tags = decided(scored, [TagDecision("C", kept=True), TagDecision("new", kept=True, language="zh")])
    assert tags == (
        Tag("C", 1.0, confirmed=True),
        Tag("new", 1.0, confirmed=True, language="zh"),
        Tag("b", 0.9),
        Tag("a", 0.2),
    )


async def test_a_decision_changes_the_tags_at_once(images, tags) -> None:
    [image] = await images.accept([ref(10)])
    await images.finish([finished(image.id)], CARD)
    assert await tags.decide(image.id, [TagDecision("Cat", kept=False)]) == (Tag("sofa", 0.25),)
    now = await tags.decide(image.id, [TagDecision("lamp", kept=True), TagDecision("sofa", kept=True)])
    [stored] = await images.by_message(10)
    assert now == stored.tags == (Tag("lamp", 1.0, confirmed=True), Tag("sofa", 1.0, confirmed=True))
    assert await tags.decide(image.id, [TagDecision("cat", kept=True)]) == (Tag("cat", 1.0, confirmed=True), *now)


async def test_nothing_is_decided_about_an_image_that_is_deleted_or_was_never_ready(images, tags) -> None:
    [image] = await images.accept([ref(10)])
    assert await tags.decide(image.id, [TagDecision("cat", kept=True)]) is None
    await images.forget_messages([10])
    assert await tags.decide(image.id, [TagDecision("cat", kept=True)]) is None


async def test_decisions_about_one_image_are_bounded_and_the_first_ones_stay(images, tags) -> None:
    [image] = await images.accept([ref(10)])
    await images.finish([finished(image.id)], CARD)
    many = [TagDecision(f"label {number}", kept=number % 2 == 0) for number in range(MAX_DECISIONS)]
    before = await tags.decide(image.id, many)
    with pytest.raises(TooManyTags):
        await tags.decide(image.id, [TagDecision("one more", kept=True)])
    [stored] = await images.by_message(10)
    assert stored.tags == before
    assert await tags.decide(image.id, [TagDecision("label 0", kept=False)]) is not None


class TagMachine(RuleBasedStateMachine):
    """Two images that are scored again and again, by one model and another, also after damage and a restart."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = empty_database(Path(self.folder.name) / "magpie.db")
        self.kept: dict[int, dict[str, bool]] = {}
        self.model = CARD
        self.labels = 0

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    @initialize(first=tags_given, second=tags_given)
    def begin(self, first, second) -> None:
        self.open()
        self.kept = {image.id: {} for image in self.run(self.images.accept([ref(10), ref(11)]))}
        self.finish(first, second)

    def open(self) -> None:
        self.database = self.run(Database.open(self.path))
        self.images, self.tags = ImageStore(self.database, clock=lambda: NOON), TagStore(self.database)
        self.retaggings = RetaggingStore(self.database)

    def teardown(self) -> None:
        self.run(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    def finish(self, *scored) -> None:
        dimension = self.model.dimension
        batch = [
            finished(id_, dimension=dimension, tags=tuple(given)) for id_, given in zip(self.kept, scored, strict=True)
        ]
        self.run(self.images.finish(batch, self.model))

    @rule(first=tags_given, second=tags_given)
    def another_model(self, first, second) -> None:
        self.model = OTHER if self.model is CARD else CARD
        self.run(self.images.requeue_for_model(self.model.key))
        self.finish(first, second)

    @rule(first=tags_given, second=tags_given)
    def damage_is_repaired(self, first, second) -> None:
        for image_id in self.kept:
            flip_a_byte(self.path, image_id)
        self.run(self.images.requeue_damaged(list(self.kept)))
        self.finish(first, second)

    @rule(at=st.integers(0, 1), made=decisions_made)
    def decide(self, at, made) -> None:
        image_id = list(self.kept)[at]
        self.run(self.tags.decide(image_id, made))
        self.kept[image_id] |= {label_key(one.label): one.kept for one in made}

    @rule(first=tags_given, second=tags_given, meanwhile=decisions_made)
    def other_labels(self, first, second, meanwhile) -> None:
        """The images are scored again, while a member decides about one of them."""
        self.labels += 1
        another = LabelSet((), (OwnLabel(f"label {self.labels}"),))
        self.run(LabelStore(self.database).change(1, None, lambda _: another))
        scored = dict(zip(self.kept, (first, second), strict=True))
        while (page := self.run(self.retaggings.page(1, self.model.key, 1))) is not None:
            self.decide(0, meanwhile)
            assert self.run(self.retaggings.retag(page, {id_: scored[id_] for id_, _, _ in page.images}))

    @rule()
    def restart(self) -> None:
        self.run(self.database.close())
        self.open()

    @invariant()
    def removed_ones_are_gone_and_kept_ones_are_there(self) -> None:
        for image in self.run(self.images.get(list(self.kept))).values():
            assert image.state is ImageState.READY
            keys = {label_key(tag.label) for tag in image.tags}
            decisions = self.kept[image.id]
            assert not keys & {key for key, kept in decisions.items() if not kept}
            assert keys >= {key for key, kept in decisions.items() if kept}


TestTagMachine = TagMachine.TestCase
TestTagMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
