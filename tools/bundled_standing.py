"""The standing of the bundled model: which scores answer a query, measured on emoji scenes of half of the concepts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from clipcore.evaluation.nonsense import ABSTRACT, NULL_PROMPTS, gibberish
from clipcore.evaluation.relevance import SIZES, Asked, measure_standing, trials
from clipcore.model import ClipModel
from clipcore.types import Standing, Vectors
from clipcore.zero_shot import mean_direction
from tools.emoji_captions import plain_caption
from tools.emoji_concepts import Concept
from tools.emoji_scenes import Pixels, Scene, pair, render, single

CALIBRATED, REPORTED = 0, 1
"""The halves of concepts, gibberish and abstract words: what is tuned on one is reported on the other."""
_GIBBERISH = 160
_ENCODED_AT_ONCE = 512


def bundled_standing(
    model: ClipModel, concepts: list[Concept], sprites: dict[int, Pixels], text_threshold: float
) -> Standing:
    """text_threshold: the one that the standing goes with. It is certain as well: to plurals and kinds of things nearly
    all images score high, as they do to nonsense, and a standing that refused the one would refuse the other.
    """
    asked = asked_of(model, concepts, sprites, CALIBRATED, 1500)
    rng = np.random.default_rng(700)
    found = list(chain.from_iterable(trials(asked, size, rng) for size in SIZES))
    return measure_standing(found, text_threshold, certain=text_threshold)


def asked_of(model: ClipModel, concepts: list[Concept], sprites: dict[int, Pixels], half: int, count: int) -> Asked:
    """Scenes of one half of the concepts, one emoji in half of them and two in the others, at places that training
    leaves out; and what is asked of them, in both languages: names of single things, names of one of two things, and
    captions of two. Pictures of what shares a word with what is asked for are near it.
    """
    rng = np.random.default_rng(701 + half)
    mine = np.sort(np.random.default_rng(702).permutation(len(concepts))[half::2])
    scenes = [_scene(mine, row, rng) for row in range(count)]
    words = [set(concept.en.lower().split()) | set(concept.zh) for concept in concepts]
    alike = np.array([[bool(some & others) for others in words] for some in words])
    has = np.zeros((count, len(concepts)), np.bool_)
    for row, scene in enumerate(scenes):
        has[row, list(scene.concepts)] = True
    wanted = [(scene, rng.random() < 0.5) for scene in scenes[:300]]
    asked = [_question(scene, chinese, concepts, rng) for scene, chinese in wanted]
    shows = np.array([has[:, list(of)].all(1) for _, of in asked])
    near = np.array([has[:, alike[list(of)].any(0)].any(1) for _, of in asked])
    nonsense = (*gibberish(2 * _GIBBERISH, np.random.default_rng(703)), *ABSTRACT)[half::2]
    images = [
        model.encode_images([render(scene, sprites) for scene in scenes[start : start + _ENCODED_AT_ONCE]])
        for start in range(0, count, _ENCODED_AT_ONCE)
    ]
    return Asked(
        np.concatenate(images),
        encode_queries(model, [text for text, _ in asked]),
        shows,
        near,
        encode_queries(model, nonsense),
        encode_queries(model, NULL_PROMPTS),
    )


def encode_queries(model: ClipModel, texts: Sequence[str]) -> Vectors:
    """As the bot encodes them."""
    return np.stack([mean_direction(model.encode_texts(model.card.prompts.for_query(text))) for text in texts])


def _scene(mine: np.ndarray, row: int, rng: np.random.Generator) -> Scene:
    if row % 2 == 0:
        return single(int(rng.choice(mine)), rng, held_out=True)
    first, second = rng.choice(mine, 2, replace=False)
    return pair(int(first), int(second), rng, held_out=True)


def _question(
    scene: Scene, chinese: bool, concepts: list[Concept], rng: np.random.Generator
) -> tuple[str, tuple[int, ...]]:
    """A text and the concepts that it asks for: of two things one in half of the questions."""
    if len(scene.concepts) > 1 and rng.random() < 0.5:
        return plain_caption(scene, concepts, chinese), scene.concepts
    index = int(rng.choice(scene.concepts))
    return (concepts[index].zh if chinese else concepts[index].en), (index,)
