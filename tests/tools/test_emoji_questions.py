"""What is asked beside captions: which words, of which concepts, and what is kept for the evaluation."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.tools.worlds import shipped_concepts, small_wording
from tools.emoji_plurals import plural
from tools.emoji_questions import Questions, gibberish
from tools.emoji_words import Wording, is_held_out_member, is_held_out_word, load_wording, plain_emoji

ART = os.environ.get("MAGPIE_EMOJI_ART", "")
needs_art = pytest.mark.skipif(
    not ART, reason="needs the emoji artwork; set MAGPIE_EMOJI_ART to the folder that tools/README.md describes"
)


@pytest.fixture(scope="module")
def wording() -> Wording:
    return load_wording(Path(ART), shipped_concepts())


@pytest.mark.parametrize(
    ("noun", "nouns"),
    [("cat", "cats"), ("fox", "foxes"), ("cherry", "cherries"), ("key", "keys"), ("jeans", "jeans"), ("bus", "buses")]
    + [("mouse", "mice"), ("kitchen knife", "kitchen knives"), ("sheep", "sheep"), ("bread", "bread")]
    + [("cup of coffee", "cups of coffee"), ("glass of wine", "glasses of wine"), ("Santa Claus", "Santa Claus")],
)
def test_nouns_have_plurals(noun, nouns):
    assert plural(noun) == nouns


def test_about_an_eighth_of_all_plurals_is_held_out_whatever_the_case():
    names = [plural(concept.en) for concept in shipped_concepts()]
    assert 0.08 < np.mean([is_held_out_word(name) for name in names]) < 0.17
    assert all(is_held_out_word(name) == is_held_out_word(name.upper()) for name in names)


@given(st.integers(0, 2**32 - 1))
@example(589)  # "long drums"
@example(318566)  # "musical keyboards"
def test_held_out_words_and_members_never_come_up(seed):
    concepts = shipped_concepts()
    wording = small_wording(concepts)
    asked = Questions(concepts, wording).draw(60, [0, 1, 2], np.random.default_rng(seed))
    held_out = {word for word in (*wording.absent_en, *wording.absent_zh) if is_held_out_word(word)}
    plurals = {plural(concept.en) for concept in concepts if plural(concept.en) != concept.en}
    held_out |= {many for many in plurals if is_held_out_word(many)}
    # "drums" is no question, though it ends "long drums", which is what another concept is called.
    taught = plurals - held_out
    assert held_out and taught
    for question in asked:
        assert question.right.isdisjoint(question.undecided)
        if not any(question.text == many or question.text.endswith(f" {many}") for many in taught if " " in many):
            assert not any(question.text == word or question.text.endswith(f" {word}") for word in held_out)
        for category in wording.categories:
            if any(word.text in question.text for word in category.words):
                unheard = {index for index in category.members if is_held_out_member(category.id, concepts[index])}
                assert question.right.isdisjoint(unheard)


def test_questions_for_nothing_here_have_no_answer_and_the_others_have_one():
    concepts = shipped_concepts()
    asked = Questions(concepts, small_wording(concepts)).draw(400, [], np.random.default_rng(0))
    unanswered = [question for question in asked if not question.right]
    assert 0.1 < len(unanswered) / len(asked) < 0.35
    names = {concept.en for concept in concepts} | {concept.zh for concept in concepts}
    assert not any(question.text in names for question in unanswered)


@given(st.integers(0, 2**32 - 1))
def test_gibberish_is_never_empty_and_of_the_characters_given(seed):
    rng = np.random.default_rng(seed)
    assert gibberish((), rng).isascii()
    assert set(gibberish(["量子", "物理"], rng)) <= set("量子物理")
    assert len(gibberish((), rng)) >= 2


def test_variation_selectors_and_skin_tones_change_no_emoji():
    assert plain_emoji("🛋️") == plain_emoji("🛋")
    assert plain_emoji("👍🏽") == "👍"
    assert plain_emoji("❤️‍🔥") == "❤‍🔥"


def test_the_small_world_has_a_category_with_members_that_training_never_names():
    concepts = shipped_concepts()
    category = replace(small_wording(concepts).categories[0])
    assert any(is_held_out_member(category.id, concepts[index]) for index in category.members)


@needs_art
def test_no_word_for_nothing_here_names_or_describes_a_concept(wording: Wording):
    names = {name for c in shipped_concepts() for name in (c.en.lower(), c.zh, *c.synonyms_en, *c.synonyms_zh)}
    said = names | {word.text for word in (*wording.tags, *(w for c in wording.categories for w in c.words))}
    assert said.isdisjoint({*wording.absent_en, *wording.absent_zh})
    assert min(len(wording.absent_en), len(wording.absent_zh)) > 3000


@needs_art
def test_every_emoji_stands_for_one_concept_and_faces_of_animals_for_the_animals(wording: Wording):
    drawn = [emoji for each in wording.emoji for emoji in each]
    assert len(drawn) == len(set(drawn))
    assert set(drawn).isdisjoint(wording.absent_emoji)
    concepts = shipped_concepts()
    meant = {emoji: concepts[index].en for index, each in enumerate(wording.emoji) for emoji in each}
    assert {"🐱": "cat", "🐶": "dog", "🚍": "bus", "☃": "snowman"}.items() <= meant.items()


@needs_art
def test_categories_have_members_and_words_in_both_languages(wording: Wording):
    concepts = shipped_concepts()
    for category in wording.categories:
        assert len(category.members) >= 4, category.id
        assert {word.chinese for word in category.words} == {False, True}, category.id
    [animals] = [category for category in wording.categories if category.id == "animal"]
    named = {concepts[index].en for index in animals.members}
    assert {"cat", "owl", "octopus", "honeybee"} <= named
    assert not {"pizza", "car", "feather"} & named
