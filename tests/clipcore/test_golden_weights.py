"""Real weights against what is published about them: `pytest --weights ID_OR_DIR`, skipped without.

With OpenAI's ViT-B/32 and the diagram of the CLIP paper (`--diagram`, or CLIP.png in ../shared), the probabilities that
OpenAI's README prints.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import clipcore
from clipcore.errors import BadInput
from clipcore.openai_api import TorchClip
from tests.clipcore import golden
from tests.clipcore.hub import COMMIT
from tests.clipcore.images import noise

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="module")
def weights(request) -> TorchClip:
    name = request.config.getoption("--weights")
    if name is None:
        pytest.skip("no real weights at hand; give them with --weights ID_OR_DIR")
    return clipcore.load(name, device="cpu", dtype="float32").model


@pytest.fixture
def photos(weights) -> Path:
    if weights.card.id == "bundled":
        pytest.skip("the bundled model knows drawings, not photographs")
    if not (SHARED / "photos").is_dir():
        pytest.skip("there are no photographs in ../shared/photos")
    return SHARED / "photos"


@pytest.fixture
def english(weights) -> TorchClip:
    known = golden.known(weights)
    if not weights.card.reads_text or (known and not {"en", "mul"} & set(known.languages)):
        pytest.skip(f"{weights.card.id} reads no English")
    return weights


def test_vectors_have_unit_length(weights):
    golden.check_unit_vectors(weights)


def test_the_figures_are_the_published_ones(weights):
    if golden.known(weights) is None:
        pytest.skip(f"{weights.card.id} is not among the known models")
    golden.check_published_figures(weights)


def test_the_originals_padding_changes_nothing(weights):
    try:
        weights.encode_text(clipcore.tokenize("a cat", 16))
    except BadInput as error:
        pytest.skip(str(error))
    golden.check_padding_does_not_matter(weights)


def test_the_diagram_is_a_diagram(request, weights, english):
    path = request.config.getoption("--diagram") or SHARED / "CLIP.png"
    if weights.card.id == "bundled":
        pytest.skip("the bundled model knows emoji, not diagrams")
    if not path.is_file():
        pytest.skip("the diagram is not at hand; give CLIP.png of https://github.com/openai/CLIP with --diagram PATH")
    golden.check_diagram(english, path)


def test_photographs_are_classified_by_their_names(english, photos):
    golden.check_photographs(english, photos)


def test_the_middle_of_a_photograph_is_most_like_it(weights, photos):
    golden.check_likeness(weights, photos)


# From here on: that the option and the checks work at all, with what is always at hand.


def test_with_the_option_the_checks_that_apply_are_made():
    command = [sys.executable, "-m", "pytest", __file__, "--weights", "bundled", "-rs", "-p", "no:cacheprovider"]
    command += ["-k", "not option"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0
    assert "2 passed, 4 skipped" in done.stdout
    assert "the bundled model knows drawings, not photographs" in done.stdout
    assert "vocabulary of its own" in done.stdout


@pytest.fixture
def pretender(tiny_directory, tmp_path) -> TorchClip:
    """Random weights that call themselves OpenAI's."""
    disguise = tmp_path / "models--openai--clip-vit-base-patch32" / "snapshots" / COMMIT
    shutil.copytree(tiny_directory, disguise)
    return clipcore.load(str(disguise), device="cpu", dtype="float32", local_only=True).model


def test_option_checks_find_other_weights_out(pretender, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(noise(60, 60, seed=number)).save(folder / f"{'abcdefghijklmnopqrst'[number]}.jpg")
    with pytest.raises(AssertionError):
        golden.check_published_figures(pretender)
    with pytest.raises(AssertionError, match="is not OpenAI's"):
        golden.check_diagram(pretender, folder / "a.jpg")
    with pytest.raises(AssertionError):
        golden.check_photographs(pretender, folder)
    golden.check_unit_vectors(pretender)


def test_option_check_of_the_diagram_is_about_the_published_probabilities(pretender, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(noise(60, 60)).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    image = pretender.preprocess(Image.open(path)).unsqueeze(0)
    logits, _ = pretender(image, pretender.tokenize(["a diagram", "a dog", "a cat"]))
    own = logits.softmax(-1)[0].tolist()
    golden.check_diagram(pretender, path, sha256, {pretender.card.id: own})
    with pytest.raises(AssertionError):
        golden.check_diagram(pretender, path, sha256, {pretender.card.id: [own[0] + 0.006, *own[1:]]})
    with pytest.raises(AssertionError):
        golden.check_diagram(pretender, path, sha256)
