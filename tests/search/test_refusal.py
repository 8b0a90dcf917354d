"""The bundled model says that nothing is like that when nothing is, and keeps what was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from clipcore.evaluation.nonsense import ABSTRACT, gibberish
from clipcore.index.vector_index import VectorIndex
from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED_DIRECTORY
from clipcore.relevance import cut
from clipcore.types import Vectors
from clipcore.zero_shot import mean_direction

SAMPLES = json.loads((BUNDLED_DIRECTORY / "samples" / "samples.json").read_text("utf-8"))
LABELS = json.loads((BUNDLED_DIRECTORY / "labels.json").read_text("utf-8"))


class Asker:
    """Asks the sample scenes, as the bot would ask a server that has nothing else."""

    def __init__(self, model: ClipModel) -> None:
        self._model = model
        self._index = VectorIndex(model.card.dimension)
        files = (BUNDLED_DIRECTORY / "samples" / sample["file"] for sample in SAMPLES)
        self._index.add(model.encode_images([np.asarray(Image.open(file).convert("RGB")) for file in files]))

    def answered(self, texts: Sequence[str]) -> float:
        """The share of these texts that find anything."""
        return float(np.mean([self._finds(self._query(text)) for text in texts]))

    def _query(self, text: str) -> Vectors:
        return mean_direction(self._model.encode_texts(self._model.card.prompts.for_query(text)))

    def _finds(self, query: Vectors) -> bool:
        found = self._index.rank(query, 1)
        return found.hits[0].score >= cut(found.population, self._model.calibration)


@pytest.fixture(scope="module")
def asker() -> Asker:
    return Asker(ClipModel.load("bundled", device="cpu", local_only=True))


def test_strings_without_sense_and_words_for_what_cannot_be_seen_find_nothing(asker: Asker) -> None:
    assert asker.answered((*gibberish(200, np.random.default_rng(11)), *ABSTRACT)) <= 0.1


def test_things_that_no_scene_shows_are_not_found(asker: Asker) -> None:
    captions = " ".join(sample["en"] for sample in SAMPLES).lower()
    absent = [label for label in LABELS if not set(label["en"].lower().split()) & set(captions.split())]
    names = [label["zh" if at % 2 else "en"] for at, label in enumerate(absent[::2])]
    assert len(names) > 150
    assert asker.answered(names) <= 0.1


def test_what_the_scenes_show_is_found(asker: Asker) -> None:
    assert asker.answered([sample[language] for sample in SAMPLES for language in ("en", "zh")]) >= 0.95
