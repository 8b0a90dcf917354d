"""Captions in English and Simplified Chinese for emoji scenes."""

from __future__ import annotations

import numpy as np

from tools.emoji_concepts import Concept
from tools.emoji_plurals import UNCOUNTABLE, is_many, plural
from tools.emoji_scenes import BACKGROUNDS, Relation, Scene
from tools.emoji_words import is_held_out_word, plain_emoji

SYNONYM_SHARE = 0.15
"""How often a concept goes by a synonym in training."""

PLURAL_SHARE = 0.06
"""How often an English name alone stands in the plural: people look for "cats"."""

SINGLE_EN = (
    "{x}",
    "{x}",
    "{ax}",
    "a photo of {ax}",
    "a picture of {ax}",
    "an image of {ax}",
    "an emoji of {ax}",
    "one {x}",
)
SINGLE_ZH = ("{x}", "{x}", "一张{x}的照片", "{x}的图片", "{x}的照片", "一个{x}", "一幅{x}的画", "{x}表情")
PAIR_EN = {
    Relation.ON: ("{ax} on {ay}", "{ax} on top of {ay}", "a photo of {ax} on {ay}", "{x} on {y}", "{ax} above {ay}"),
    Relation.NEXT_TO: (
        "{ax} next to {ay}",
        "{ax} and {ay}",
        "{ax} with {ay}",
        "a photo of {ax} and {ay}",
        "{x} and {y}",
        "{ax} beside {ay}",
    ),
}
PAIR_ZH = {
    Relation.ON: ("{y}上的{x}", "{x}在{y}上", "{y}上面的{x}", "一张{y}上的{x}的照片", "{y}上有{x}"),
    Relation.NEXT_TO: ("{x}和{y}", "{y}旁边的{x}", "{x}在{y}旁边", "{x}与{y}", "一张{x}和{y}的照片", "{x}，{y}"),
}
EMPTY_EN = ("nothing", "a plain background", "a noisy background", "an empty picture")
EMPTY_ZH = ("什么都没有", "背景", "空白的图片")


def caption(
    scene: Scene, concepts: list[Concept], chinese: bool, rng: np.random.Generator, emoji_share: float = 0.0
) -> str:
    """One caption of a scene. The background is named only when it has a name, and then in half of the captions.

    emoji_share: how often emoji stand in place of the names and all other words.
    """
    if not scene.concepts:
        return _of_nothing(scene, chinese, rng)
    names = [_pick_name(concepts[index], chinese, rng) for index in scene.concepts]
    templates = _templates(scene, chinese)
    words = _fill(templates[rng.integers(len(templates))], names, chinese)
    if len(names) == 1 and not chinese and rng.random() < PLURAL_SHARE and not is_held_out_word(plural(names[0])):
        words = plural(names[0])
    elif emoji_share and rng.random() < emoji_share:
        words = "".join(plain_emoji(concepts[index].emoji) for index in scene.concepts)
    if scene.background is None or rng.random() < 0.5:
        return words
    colour_en, colour_zh, _ = BACKGROUNDS[scene.background]
    if chinese:
        return f"{colour_zh}背景上的{words}" if rng.random() < 0.5 else f"{words}，{colour_zh}背景"
    return f"{words} on a {colour_en} background"


def plain_caption(scene: Scene, concepts: list[Concept], chinese: bool) -> str:
    """The caption an evaluation asks with: the proper names, one fixed template."""
    names = [concepts[index].zh if chinese else concepts[index].en for index in scene.concepts]
    if len(names) == 1:
        return names[0] if chinese else f"a photo of {with_article(names[0])}"
    return _fill(_templates(scene, chinese)[0], names, chinese)


def with_article(noun: str) -> str:
    """ "apple" becomes "an apple"; plurals and stuff stay bare."""
    if noun in UNCOUNTABLE or is_many(noun):
        return noun
    return f"an {noun}" if noun[0].lower() in "aeio" or noun.startswith(("umb", "8")) else f"a {noun}"


def _of_nothing(scene: Scene, chinese: bool, rng: np.random.Generator) -> str:
    if scene.background is not None and rng.random() < 0.7:
        colour_en, colour_zh, _ = BACKGROUNDS[scene.background]
        return f"{colour_zh}背景" if chinese else f"a {colour_en} background"
    names = EMPTY_ZH if chinese else EMPTY_EN
    return names[rng.integers(len(names))]


def _templates(scene: Scene, chinese: bool) -> tuple[str, ...]:
    if scene.relation is None:
        return SINGLE_ZH if chinese else SINGLE_EN
    return (PAIR_ZH if chinese else PAIR_EN)[scene.relation]


def _fill(template: str, names: list[str], chinese: bool) -> str:
    first, second = names[0], names[-1]
    if chinese:
        return template.format(x=first, y=second)
    return template.format(x=first, y=second, ax=with_article(first), ay=with_article(second))


def _pick_name(concept: Concept, chinese: bool, rng: np.random.Generator) -> str:
    synonyms = concept.synonyms_zh if chinese else concept.synonyms_en
    if synonyms and rng.random() < SYNONYM_SHARE:
        return synonyms[rng.integers(len(synonyms))]
    return concept.zh if chinese else concept.en
