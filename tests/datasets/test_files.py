from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipcore.datasets.pairs import sub_folders
from clipcore.errors import BadInput
from clipcore.images.walk import image_files


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_images_come_at_any_depth_in_the_order_of_their_names(tmp_path: Path):
    make(tmp_path, "b/2.PNG", "b/1.jpg", "a.webp", "notes.txt", ".hidden/1.jpg", "b/.thumb.jpg", "é/[x].gif")
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert found == ["a.webp", "b/1.jpg", "b/2.PNG", "é/[x].gif"]


def test_a_folder_that_links_to_itself_is_listed_once(tmp_path: Path):
    make(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "up").symlink_to("..")
    assert image_files(tmp_path) == [tmp_path / "a" / "1.jpg"]


def test_a_class_may_be_a_link_and_broken_links_are_listed(tmp_path: Path):
    make(tmp_path / "elsewhere", "1.jpg")
    data = make(tmp_path / "data", "b/2.jpg")
    (data / "a").symlink_to(tmp_path / "elsewhere")
    (data / "b" / "gone.jpg").symlink_to("nowhere")
    assert sub_folders(data) == [data / "a", data / "b"]
    assert image_files(data / "a") == [data / "a" / "1.jpg"]
    assert image_files(data / "b") == [data / "b" / "2.jpg", data / "b" / "gone.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path):
    make(tmp_path, "a/b/1.jpg")
    (tmp_path / "a" / "b").chmod(0)
    with pytest.raises(BadInput, match="a/b/"):
        image_files(tmp_path)
    (tmp_path / "a" / "b").chmod(0o700)
