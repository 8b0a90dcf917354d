"""What is asked beside captions: which words, of which concepts, and what is kept for the evaluation."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.worlds import shipped_concepts, small_wording
from tools.emoji_plurals import plural
from tools.emoji_questions import Questions, gibberish
from tools.emoji_words import Category, Word, Wording, is_held_out_member, is_held_out_word, load_wording, plain_emoji

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


CONCEPTS = shipped_concepts()
SMALL = small_wording(CONCEPTS)
QUESTIONS = Questions(CONCEPTS, SMALL)
HELD_OUT = {word for word in (*SMALL.absent_en, *SMALL.absent_zh) if is_held_out_word(word)}
HELD_OUT |= {plural(c.en) for c in CONCEPTS if plural(c.en) != c.en and is_held_out_word(plural(c.en))}
UNHEARD = {index for index in SMALL.categories[0].members if is_held_out_member("animal", CONCEPTS[index])}


@given(st.integers(0, 2**32 - 1))
def test_held_out_words_and_members_never_come_up(seed):
    for question in QUESTIONS.draw(20, [0, 1, 2], np.random.default_rng(seed)):
        assert question.right.isdisjoint(question.undecided)
        assert not any(question.text == word or question.text.endswith(f" {word}") for word in HELD_OUT), question.text
        if any(word.text in question.text for word in SMALL.categories[0].words):
            assert question.right.isdisjoint(UNHEARD)


def test_something_is_held_out_of_each_kind():
    assert HELD_OUT
    assert UNHEARD


def test_questions_for_nothing_here_have_no_answer_and_the_others_have_one():
    asked = QUESTIONS.draw(400, [], np.random.default_rng(0))
    unanswered = [question for question in asked if not question.right]
    assert 0.1 < len(unanswered) / len(asked) < 0.35
    names = {name for concept in CONCEPTS for name in (concept.en, concept.zh)}
    assert not any(question.text in names for question in unanswered)


def test_other_birds_may_answer_to_the_name_of_the_bird():
    bird, owl = (next(i for i, concept in enumerate(CONCEPTS) if concept.en == name) for name in ("bird", "owl"))
    words = (
        *(Word(text, False, frozenset({bird, owl})) for text in ("bird", "birds")),
        Word("鸟类", True, frozenset()),
    )
    birds = replace(SMALL, categories=(Category("bird", words, frozenset({bird, owl})),))
    asked = Questions(CONCEPTS, birds).draw(1000, [bird], np.random.default_rng(0))
    named = [question for question in asked if question.text == "a photo of a bird"]
    assert named
    assert all(bird in question.right and owl in question.right | question.undecided for question in named)


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
