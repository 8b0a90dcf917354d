import numpy as np
import pytest
from tokenizers import Tokenizer, models

from tests.tools.worlds import shipped_concepts
from tools.bundled_stream import Mix, Stream
from tools.emoji_captions import caption, plain_caption, with_article
from tools.emoji_scenes import Relation, Scene, is_held_out_pair, is_held_out_position, pair
from tools.emoji_words import plain_emoji

MIX = Mix(136, 96, 4)


def stream(seed: int = 20) -> Stream:
    return Stream(shipped_concepts(), {}, Tokenizer(models.BPE()), seed)


def test_held_out_pairs_and_places_never_come_up():
    training = stream()
    for _ in range(150):
        for scene in training.scenes(MIX):
            if len(scene.concepts) == 2:
                assert not is_held_out_pair(*scene.concepts)
            if scene.concepts:
                first = next(sprite for sprite in scene.sprites if sprite.concept == scene.concepts[0])
                assert not is_held_out_position(first.left, first.top)


def test_a_batch_has_each_concept_alone_at_most_once_and_singles_first():
    scenes = stream().scenes(MIX)
    sizes = [len(scene.concepts) for scene in scenes]
    alone = [scene.concepts[0] for scene in scenes if len(scene.concepts) == 1]
    assert len(set(alone)) == len(alone) == MIX.singles
    assert sizes == [1] * MIX.singles + [2] * sizes.count(2) + [0] * MIX.empties


def test_the_stream_is_the_same_for_the_same_seed():
    assert stream(1).scenes(MIX) == stream(1).scenes(MIX) != stream(2).scenes(MIX)


def test_most_scenes_share_a_concept_with_another_of_the_batch():
    pairs = [set(scene.concepts) for scene in stream().scenes(MIX) if len(scene.concepts) == 2]
    assert np.mean([any(one & other for other in pairs if other is not one) for one in pairs]) > 0.9


def named(en: str) -> int:
    return next(index for index, concept in enumerate(shipped_concepts()) if concept.en == en)


def scene_of(relation: Relation) -> Scene:
    rng = np.random.default_rng(0)
    return next(
        scene for scene in (pair(named("cat"), named("sofa"), rng) for _ in range(99)) if scene.relation is relation
    )


@pytest.mark.parametrize(
    ("relation", "chinese", "words"),
    [
        (Relation.ON, False, "a cat on a sofa"),
        (Relation.ON, True, "沙发上的猫"),
        (Relation.NEXT_TO, False, "a cat next to a sofa"),
        (Relation.NEXT_TO, True, "猫和沙发"),
    ],
)
def test_scenes_are_asked_for_in_plain_words(relation, chinese, words):
    assert plain_caption(scene_of(relation), shipped_concepts(), chinese) == words


def test_every_caption_names_both_things_or_synonyms_of_them():
    concepts, rng = shipped_concepts(), np.random.default_rng(3)
    scene = scene_of(Relation.ON)
    for chinese in (False, True):
        for _ in range(100):
            words = caption(scene, concepts, chinese, rng)
            for index in scene.concepts:
                concept = concepts[index]
                names = (concept.zh, *concept.synonyms_zh) if chinese else (concept.en, *concept.synonyms_en)
                assert any(name in words for name in names), words


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [("apple", "an apple"), ("cat", "a cat"), ("umbrella", "an umbrella"), ("unicorn", "a unicorn"), ("bus", "a bus")]
    + [("jeans", "jeans"), ("glass", "a glass"), ("bread", "bread")],
)
def test_nouns_get_the_article_that_they_need(noun, phrase):
    assert with_article(noun) == phrase


def test_emoji_may_stand_for_a_caption():
    scene = scene_of(Relation.ON)
    cat, sofa = (shipped_concepts()[index].emoji for index in scene.concepts)
    words = caption(scene, shipped_concepts(), False, np.random.default_rng(0), emoji_share=1.0)
    assert words == plain_emoji(cat) + plain_emoji(sofa)
