"""Every family against transformers' own processors and models, on shared random weights, from the images' bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clipcore.images.decode import decode_image
from clipcore.model import ClipModel
from tests.clipcore.families import FAMILIES, READING, Family, strings_in_many_scripts
from tests.clipcore.images import encode

PHOTOS = Path(__file__).parents[3] / "shared" / "photos"
SIZES = [(640, 480), (333, 500), (48, 48), (61, 47), (1000, 260)]
TEXTS = [
    "a cat",
    "A Dog, on the SOFA; asleep!",
    "a photo of the quick brown fox (12 o'clock)",
    "一只猫坐在沙发上",
    "Ein großer Hund läuft über die Straße",
    "КОШКА сидит на диване 🐈",
    "a dog and a cat and the quick brown fox " * 12,
]
# How transformers' SigLIP tokenizer spells them before it takes them apart.
BARE_TEXTS = [
    "a cat",
    "a dog on the sofa asleep",
    "a photo of the quick brown fox 12 oclock",
    "一只猫坐在沙发上",
    "ein großer hund läuft über die straße",
    "кошка сидит на диване 🐈",
    ("a dog and a cat and the quick brown fox " * 12).strip(),
]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def directory(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.write(tmp_path_factory.mktemp("families") / family.name)


@pytest.fixture(scope="module")
def model(directory: Path) -> ClipModel:
    return ClipModel.load(str(directory), device="cpu", precision="fp32", local_only=True)


@pytest.fixture(scope="module")
def files(family: Family) -> list[bytes]:
    # NaFlex keeps proportions where ours squashes, and agrees on squares; see `_naflex_features`.
    sizes = [(64, 64), (200, 200), (48, 48), (61, 61), (500, 500)] if family.name == "naflex" else SIZES
    return [encode(scene(*size, number), "JPEG", quality=90) for number, size in enumerate(sizes)]


def scene(width: int, height: int, number: int) -> Image.Image:
    """Something with large and small shapes, other colours for every number."""
    chance = np.random.default_rng(number)
    image = Image.new("RGB", (width, height), tuple(int(c) for c in chance.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        left, top = chance.uniform(-0.2, 1, 2) * (width, height)
        across, down = chance.uniform(0.02, 0.6, 2) * (width, height)
        shape = draw.ellipse if chance.random() < 0.5 else draw.rectangle
        shape((left, top, left + across, top + down), fill=tuple(int(c) for c in chance.integers(0, 256, 3)))
    return image


def spelt_for(family: Family) -> list[str]:
    return BARE_TEXTS if family.name == "siglip" else TEXTS


def assert_same_directions(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Cosine >= 0.9999 pair by pair, where other pairs lie well below: otherwise the comparison could not fail."""
    cosines = ours @ theirs.T
    assert cosines.diagonal().min() >= 0.9999
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    assert others.max() < 0.999
    assert np.allclose(ours, theirs, atol=1e-4)


def test_images_get_the_vectors_of_transformers_from_the_same_bytes(family, directory, model, files):
    ours = model.encode_images([decode_image(data) for data in files])
    assert_same_directions(ours, family.image_vectors(directory, files))


def test_photographs_get_the_vectors_of_transformers_from_the_same_bytes(family, directory, model):
    if not PHOTOS.is_dir():
        pytest.skip("the photographs are not at hand")
    if family.name == "naflex":
        pytest.skip("NaFlex keeps proportions where ours squashes; squares are compared above")
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))[:8]]
    ours = model.encode_images([decode_image(data) for data in photos])
    theirs = family.image_vectors(directory, photos)
    assert (ours * theirs).sum(axis=1).min() >= 0.9999


@pytest.mark.parametrize("family", READING, ids=lambda family: family.name, scope="module", indirect=True)
def test_texts_get_the_vectors_of_transformers(family, directory, model):
    ours = np.concatenate([model.encode_texts([text]) for text in TEXTS])
    theirs = family.text_vectors(directory, spelt_for(family))
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() >= 0.9999
    assert (ours @ theirs.T).min() < 0.99
    assert np.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("family", READING, ids=lambda family: family.name, scope="module", indirect=True)
def test_pairs_get_the_logits_of_transformers(family, directory, model, files):
    cosines = model.encode_images([decode_image(data) for data in files]) @ model.encode_texts(TEXTS).T
    ours = model.card.logit_scale * cosines + model.card.logit_bias
    theirs = family.logits(directory, files, spelt_for(family))
    assert np.ptp(theirs) > 1
    assert np.allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize(
    "family", [one for one in READING if one.name != "siglip"], ids=lambda family: family.name, scope="module",
    indirect=True,
)  # fmt: skip
def test_a_thousand_strings_in_many_scripts_become_the_tokens_of_transformers(family, directory, model):
    strings = strings_in_many_scripts(1000)
    assert model.opened.tokenize is not None
    assert family.words is not None
    ours, theirs = model.opened.tokenize(strings), family.words(directory, strings)
    assert ours.keys() == theirs.keys()
    for name, tokens in theirs.items():
        assert np.array_equal(ours[name].numpy(), tokens.numpy()), name
