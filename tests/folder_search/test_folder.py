"""The Python face of folder search, with the bundled model and the images that ship with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import clipcore
from clipcore import ClipModel, Folder
from clipcore.errors import BadInput
from clipcore.models.known_models import BUNDLED_DIRECTORY

SAMPLES = BUNDLED_DIRECTORY / "samples"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("*.json"))
    return folder


@pytest.fixture(scope="module")
def bundled() -> ClipModel:
    return ClipModel.load("bundled", device="cpu")


@pytest.fixture
def folder(photos: Path, tmp_path: Path, bundled: ClipModel) -> Folder:
    return Folder(photos, bundled, index_file=tmp_path / "index.sqlite3")


def test_a_text_finds_its_image_without_any_other_call(folder: Folder, photos: Path) -> None:
    best, *others = folder.search("a rocket", top=3)
    assert (best.path, best.weak) == (photos / "rocket.png", False)
    assert best.score > others[0].score
    assert len(others) == 2


def test_images_and_texts_are_added_and_subtracted(folder: Folder, photos: Path) -> None:
    [best] = folder.search([str(photos / "rocket.png"), "2:a panda"], minus=["a rocket"], top=1)
    assert best.path == photos / "panda.png"


def test_a_new_file_is_found_by_the_next_search_and_not_by_one_that_trusts_the_index(
    folder: Folder, photos: Path
) -> None:
    (photos / "panda.png").rename(photos.parent / "panda.png")
    folder.update()
    shutil.copy(photos.parent / "panda.png", photos / "new.png")
    assert photos / "new.png" not in [match.path for match in folder.search("a panda", update=False)]
    assert folder.search("a panda", top=1)[0].path == photos / "new.png"


def test_similar_leaves_out_the_file_itself_and_duplicates_groups_copies(folder: Folder, photos: Path) -> None:
    shutil.copy(photos / "panda.png", photos / "copy.png")
    assert folder.similar(photos / "panda.png", top=1)[0].path == photos / "copy.png"
    assert [{path.name for path in group} for group in folder.duplicates()] == [{"copy.png", "panda.png"}]


def test_an_unreadable_file_is_named_and_costs_nothing_else(folder: Folder, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    assert folder.search("a rocket", top=1)[0].path == photos / "rocket.png"
    assert list(folder.skipped) == [photos / "broken.png"]


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no folder"):
        clipcore.Folder(tmp_path / "nowhere", "bundled")
