"""How the bundled model answers what people type beside captions: plurals, emoji, kinds of things, and things that are
not there. Asked of the sample scenes, and of pictures of all concepts with words that training never used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcore.model import ClipModel
from clipcore.relevance import cut, population_of
from clipcore.types import Calibration, Vectors
from tools.bundled_standing import encode_queries
from tools.draw_samples import SAMPLES
from tools.emoji_concepts import Concept
from tools.emoji_plurals import plural
from tools.emoji_questions import Question, gibberish
from tools.emoji_words import Wording, is_held_out_member, is_held_out_word, plain_emoji

ON_SAMPLES = Path(__file__).with_name("sample_questions.json")
GALLERY = 40
"""Images among which an absent concept is looked for: a small server's worth."""
ABSENT = 400
"""Words for nothing here in each language, and strings that are no words."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answered:
    """right: how many questions had a right first image that answers or, asking for nothing here, none."""

    right: int
    asked: int
    missed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.right} of {self.asked}" + (f", not {', '.join(self.missed)}" if self.missed else "")


def on_samples(model: ClipModel, folder: Path, calibration: Calibration) -> dict[str, Answered]:
    """The questions of sample_questions.json, each kind by itself, answered as the bot would in a server of the sample
    scenes. folder: where these are.
    """
    images = model.encode_images(
        [np.asarray(Image.open(folder / f"{sample.file}.png").convert("RGB")) for sample in SAMPLES]
    )
    shown = [{part.emoji for part in sample.parts} for sample in SAMPLES]
    kinds: dict[str, list[tuple[str, str]]] = json.loads(ON_SAMPLES.read_text("utf-8"))
    return {
        kind: _answered(
            [text for text, _ in asked], [set(right.split()) for _, right in asked], model, images, shown, calibration
        )
        for kind, asked in kinds.items()
    }


@dataclass(frozen=True, slots=True)
class Share:
    """first: how often a right image was the best of all; passing: how many right images reach the threshold."""

    first: float
    passing: float
    asked: int

    def __str__(self) -> str:
        return f"R@1 {self.first:.3f}, {self.passing:.3f} of the right pictures above the threshold, {self.asked} asked"


class QuestionBench:
    """Questions to one image of each concept. images: their embeddings, in the order of the concepts."""

    def __init__(self, model: ClipModel, concepts: list[Concept], wording: Wording, images: Vectors) -> None:
        self._model = model
        self._concepts = concepts
        self._wording = wording
        self._images = images

    def plurals(self, *, held_out: bool) -> list[Question]:
        named = ((plural(concept.en), concept.en, index) for index, concept in enumerate(self._concepts))
        return [
            Question(many, frozenset({index}))
            for many, one, index in named
            if many != one and is_held_out_word(many) == held_out
        ]

    def emoji(self) -> list[Question]:
        return [Question(plain_emoji(concept.emoji), frozenset({i})) for i, concept in enumerate(self._concepts)]

    def categories(self, *, held_out: bool) -> list[Question]:
        """right: the members that training never named as such, or those that it did."""
        found = []
        for category in self._wording.categories:
            for word in category.words:
                members = (i for i in word.right if is_held_out_member(category.id, self._concepts[i]) == held_out)
                if right := frozenset(members):
                    found.append(Question(word.text, right, word.undecided | (word.right - right)))
        return found

    def absent(self) -> list[Question]:
        """Words that training never used, and that no concept answers to."""
        rng = np.random.default_rng(600)
        words = (self._wording.absent_en, self._wording.absent_zh)
        unused = [rng.permutation([word for word in each if is_held_out_word(word)])[:ABSENT] for each in words]
        return [Question(str(word), frozenset()) for word in np.concatenate(unused)]

    def made_up(self) -> list[Question]:
        rng = np.random.default_rng(601)
        characters = [word for word in self._wording.absent_zh if is_held_out_word(word)]
        return [Question(gibberish(characters if n % 4 == 0 else (), rng), frozenset()) for n in range(ABSENT)]

    def share(self, questions: list[Question], threshold: float) -> Share:
        scores = self.scores(questions)
        first = [int(row.argmax()) in q.right | q.undecided for q, row in zip(questions, scores, strict=True)]
        return Share(float(np.mean(first)), float((self.right(questions) >= threshold).mean()), len(questions))

    def right(self, questions: list[Question]) -> Scores:
        """The scores of all images that answer."""
        rows = zip(questions, self.scores(questions), strict=True)
        return np.concatenate([row[sorted(question.right)] for question, row in rows])

    def hopeless(self, questions: list[Question]) -> Scores:
        """float32 [questions]: each one's best score among GALLERY images that do not answer it."""
        rng = np.random.default_rng(602)
        best = []
        for question, row in zip(questions, self.scores(questions), strict=True):
            order = [i for i in rng.permutation(len(row)) if i not in question.right and i not in question.undecided]
            best.append(row[order[:GALLERY]].max())
        return np.array(best, np.float32)

    def scores(self, questions: list[Question]) -> Vectors:
        return self._model.encode_texts([question.text for question in questions]) @ self._images.T


def _answered(
    texts: list[str],
    right: Iterable[set[str]],
    model: ClipModel,
    images: Vectors,
    shown: list[set[str]],
    calibration: Calibration,
) -> Answered:
    missed = []
    for text, answers, scores in zip(texts, right, encode_queries(model, texts) @ images.T, strict=True):
        best = int(scores.argmax())
        least = cut(population_of(scores, len(scores)), calibration)
        found = shown[best] if scores[best] >= least else set()
        if found.isdisjoint(answers) if answers else found:
            missed.append(text)
    return Answered(len(texts) - len(missed), len(texts), tuple(missed))
