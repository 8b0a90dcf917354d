"""The model that ships: its files, and what it can do. The floors lie a little under the figures in its card."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED_DIRECTORY
from clipcore.types import Label, Vectors
from clipcore.zero_shot import ZeroShotClassifier
from tests.tools.worlds import LABELS, shipped_concepts

SAMPLES = BUNDLED_DIRECTORY / "samples"
WEIGHTS_AND_ALL = 24 * 2**20
SAMPLES_FOUND, THINGS_TAGGED, TAGS_RIGHT = 0.9, 0.6, 0.7
ENGLISH_AT_1, ENGLISH_AT_5, CHINESE_AT_1, PAIRS_AT_1 = 0.75, 0.93, 0.60, 0.60
ART = os.environ.get("MAGPIE_EMOJI_ART", "")
needs_art = pytest.mark.skipif(
    not ART, reason="needs the emoji artwork; set MAGPIE_EMOJI_ART to the folder that tools/README.md describes"
)


@pytest.fixture(scope="module")
def model() -> ClipModel:
    return ClipModel.load("bundled", device="cpu", precision="fp32", local_only=True)


@pytest.fixture(scope="module")
def samples() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads((SAMPLES / "samples.json").read_text("utf-8"))
    return entries


@pytest.fixture(scope="module")
def images(model: ClipModel, samples: list[dict[str, str]]) -> Vectors:
    return model.encode_images([np.asarray(Image.open(SAMPLES / sample["file"]).convert("RGB")) for sample in samples])


@pytest.fixture(scope="module")
def classifier(model: ClipModel) -> ZeroShotClassifier:
    labels = [Label(concept.en, (concept.en, concept.zh)) for concept in shipped_concepts()]
    return ZeroShotClassifier.for_model(model, labels, threshold=model.calibration.tag_threshold)


def test_all_files_together_are_small_enough_for_a_repository():
    assert sum(path.stat().st_size for path in BUNDLED_DIRECTORY.rglob("*") if path.is_file()) <= WEIGHTS_AND_ALL


def test_the_labels_are_many_and_each_name_means_one_thing():
    concepts = shipped_concepts()
    assert len(concepts) >= 600
    for names in ([c.id for c in concepts], [c.emoji for c in concepts]):
        assert len(set(names)) == len(names)
    for names in (
        [name for c in concepts for name in (c.en.lower(), *c.synonyms_en)],
        [name for c in concepts for name in (c.zh, *c.synonyms_zh)],
    ):
        assert len(set(names)) == len(names)


def test_the_labels_file_has_exactly_the_fields_that_the_bot_reads():
    fields = {"id", "emoji", "en", "zh", "synonyms_en", "synonyms_zh"}
    assert all(set(entry) == fields and entry["en"] and entry["zh"] for entry in json.loads(LABELS.read_text("utf-8")))


def test_every_sample_is_listed_and_every_listed_sample_is_there(samples: list[dict[str, str]]):
    assert len(samples) == 24
    assert {sample["file"] for sample in samples} == {path.name for path in SAMPLES.glob("*.png")}
    for sample in samples:
        with Image.open(SAMPLES / sample["file"]) as image:
            assert image.size == (256, 256)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_samples_are_found_by_their_captions(model, samples, images, language):
    texts = model.encode_texts([sample[language] for sample in samples])
    scores = texts @ images.T
    right = scores.argmax(axis=1) == np.arange(len(samples))
    assert right.mean() >= SAMPLES_FOUND, [s[language] for s, r in zip(samples, right, strict=True) if not r]
    assert (scores.diagonal() >= model.calibration.text_threshold).mean() >= SAMPLES_FOUND


def shown_in(caption: str) -> set[str]:
    """The concepts that an English caption names, the longest names first: a teddy bear is no bear."""
    found = set()
    for name in sorted((concept.en for concept in shipped_concepts()), key=len, reverse=True):
        if f" {name} " in f" {caption} ":
            found.add(name)
            caption = caption.replace(name, "")
    return found


def test_samples_are_tagged_with_what_they_show_and_little_else(samples, images, classifier):
    shown = [shown_in(sample["en"]) for sample in samples]
    tagged = [{tag.label for tag in tags} for tags in classifier.classify(images)]
    something = [bool(names & tags) for names, tags in zip(shown, tagged, strict=True)]
    assert np.mean(something) >= SAMPLES_FOUND, [s["en"] for s, r in zip(samples, something, strict=True) if not r]
    named = sum(len(names & tags) for names, tags in zip(shown, tagged, strict=True))
    assert named / sum(map(len, shown)) >= THINGS_TAGGED
    assert named / sum(map(len, tagged)) >= TAGS_RIGHT


def test_a_plain_ground_gets_no_tag(model, classifier):
    grounds = [np.full((128, 128, 3), colour, np.uint8) for colour in ([255, 255, 255], [18, 18, 20], [66, 133, 230])]
    assert classifier.classify(model.encode_images(grounds)) == [(), (), ()]


def test_the_card_states_the_licences_and_what_the_model_is_not_for():
    card = (BUNDLED_DIRECTORY / "README.md").read_text("utf-8")
    for words in ("Apache", "CC BY 4.0", "MIT", "Noto Emoji", "Twemoji", "emojibase", "photographs"):
        assert words in card


@needs_art
def test_the_model_reaches_the_figures_of_its_card():
    from tools.evaluate_bundled import Bench

    bench = Bench(BUNDLED_DIRECTORY, Path(ART))
    english, chinese = bench.single_recall(chinese=False), bench.single_recall(chinese=True)
    assert english.at_1 >= ENGLISH_AT_1
    assert english.at_5 >= ENGLISH_AT_5
    assert chinese.at_1 >= CHINESE_AT_1
    assert bench.pair_recall(chinese=False).at_1 >= PAIRS_AT_1
