"""The model that ships with the repository: loaded by the usual path, finding the sample scenes in both languages."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from functools import partial

import numpy as np
import pytest

from clipcore.engine.engine import ClipEngine
from clipcore.index.vector_index import VectorIndex
from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED_DIRECTORY
from clipcore.types import ImageVector, Label
from tests.clipcore.images import png

SAMPLES = json.loads((BUNDLED_DIRECTORY / "samples" / "samples.json").read_text(encoding="utf-8"))
LABELS = json.loads((BUNDLED_DIRECTORY / "labels.json").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(
    not (BUNDLED_DIRECTORY / "model.safetensors").is_file(), reason="this checkout lacks the bundled model's weights"
)


@pytest.fixture
async def engine() -> AsyncIterator[ClipEngine]:
    engine = ClipEngine(partial(ClipModel.load, "bundled", device="cpu", local_only=True))
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def samples(engine: ClipEngine) -> list[ImageVector]:
    folder = BUNDLED_DIRECTORY / "samples"
    return [await engine.encode_image((folder / sample["file"]).read_bytes()) for sample in SAMPLES]


def index_of(samples: list[ImageVector]) -> VectorIndex:
    index = VectorIndex(len(samples[0].vector))
    index.add(np.stack([sample.vector for sample in samples]))
    return index


def test_it_loads_in_a_few_seconds():
    began = time.process_time()
    model = ClipModel.load("bundled", device="cpu", local_only=True)
    assert model.card.id == "bundled"
    assert model.card.key.startswith("bundled@")
    assert model.card.languages == ("en", "zh")
    # Processor time, so that a busy machine does not fail the test.
    assert time.process_time() - began < 5


def test_it_is_small_enough_to_ship():
    assert sum(file.stat().st_size for file in BUNDLED_DIRECTORY.rglob("*") if file.is_file()) <= 24 * 1024 * 1024


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_a_scene_is_found_by_its_caption(engine, samples, language):
    index = index_of(samples)
    first = 0
    for place, sample in enumerate(SAMPLES):
        hits = index.search(await engine.encode_query(sample[language]), 5)
        first += hits[0].key == place and hits[0].score >= engine.calibration.text_threshold
    assert first >= 20, f"{first} of {len(SAMPLES)} scenes came first for their own caption"


async def test_a_query_without_a_matching_scene_rarely_matches(engine, samples):
    """Every label that no caption names: the best scene for it must lie below the threshold nearly always."""
    captions = " ".join(sample["en"] for sample in SAMPLES).lower()
    absent = [label["en"] for label in LABELS if not set(label["en"].lower().split()) & set(captions.split())]
    assert len(absent) > 300
    index = index_of(samples)
    best = [index.search(vector, 1)[0].score for vector in await engine.encode_texts(absent)]
    wrong = sum(score >= engine.calibration.text_threshold for score in best) / len(best)
    assert wrong < 0.1


async def test_a_scene_is_tagged_with_what_it_shows(engine, samples):
    labels = [Label(label["en"], (label["en"], label["zh"])) for label in LABELS]
    classifier = await engine.classifier(labels)
    right = 0
    for sample, tags in zip(SAMPLES, classifier.classify(np.stack([each.vector for each in samples])), strict=True):
        right += any(tag.label.lower() in sample["en"].lower() for tag in tags)
    assert right >= 18, f"{right} of {len(SAMPLES)} scenes got a tag that their caption names"


async def test_a_plain_image_gets_no_tags(engine):
    classifier = await engine.classifier([Label(label["en"], (label["en"], label["zh"])) for label in LABELS])
    plain = [(await engine.encode_image(png(color))).vector for color in ("white", "black", "gray")]
    assert classifier.classify(np.stack(plain)) == [(), (), ()]


async def test_a_scene_posted_again_is_its_own_nearest_match(engine, samples):
    again = (await engine.encode_image((BUNDLED_DIRECTORY / "samples" / SAMPLES[0]["file"]).read_bytes())).vector
    [best] = index_of(samples).search(again, 1)
    assert best.key == 0
    assert best.score >= max(0.99, engine.calibration.image_threshold)
