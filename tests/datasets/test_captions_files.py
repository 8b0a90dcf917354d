"""Folders of images with captions in the shapes that COCO, Karpathy and Flickr gave them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipcore.datasets import Pairs, open_pairs
from clipcore.errors import BadInput
from tests.datasets.tables import BLUE, GREEN, RED, write_files, write_lines

IMAGES = {"red.png": RED, "green.png": GREEN, "blue.png": BLUE}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "images", IMAGES)


def told(pairs: Pairs) -> list[tuple[str, str]]:
    names = [Path(image.name).name for image in pairs.images]
    return [(names[at], caption) for at, caption in zip(pairs.image_of, pairs.captions, strict=True)]


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


COCO = {
    "images": [{"id": 5, "file_name": "red.png"}, {"id": 9, "file_name": "blue.png"}, {"id": 7, "file_name": "no.png"}],
    "annotations": [
        {"image_id": 9, "id": 1, "caption": "a blue\n one"},
        {"image_id": 5, "id": 2, "caption": "红色"},
        {"image_id": 9, "id": 3, "caption": "blue again"},
        {"image_id": 7, "id": 4, "caption": "nobody sees this"},
    ],
}
KARPATHY = {
    "dataset": "flickr30k",
    "images": [
        {"filename": "red.png", "split": "train", "sentences": [{"raw": "one"}, {"raw": "two"}]},
        {"filename": "blue.png", "split": "test", "sentences": [{"raw": "three"}]},
        {"filename": "green.png", "filepath": "val2014", "split": "restval", "sentences": [{"raw": "four"}]},
    ],
}


def test_coco_captions_are_read_beside_their_images(folder: Path):
    write_json(folder / "captions.json", COCO)
    pairs = open_pairs(folder)
    assert told(pairs) == [("red.png", "红色"), ("blue.png", "a blue one"), ("blue.png", "blue again")]
    assert pairs.images[1].read() == BLUE
    assert [problem.name for problem in pairs.problems] == ["no.png"]


def test_the_captions_file_may_be_outside_the_folder(folder: Path, tmp_path: Path):
    captions = write_json(tmp_path / "any_name.json", COCO)
    captions.write_bytes(b"\xef\xbb\xbf" + captions.read_bytes())
    assert told(open_pairs(folder, captions=captions)) == told(open_pairs(captions))


@pytest.mark.parametrize(
    ("split", "captions"),
    [
        (None, ["one", "two", "three", "four"]),
        ("test", ["three"]),
        ("train+restval", ["one", "two", "four"]),
    ],
)
def test_karpathys_splits(folder: Path, split: str | None, captions: list[str]):
    write_json(folder / "dataset_flickr30k.json", KARPATHY)
    pairs = open_pairs(folder, split=split)
    assert list(pairs.captions) == captions


def test_a_split_that_is_not_there_is_refused(folder: Path):
    captions = write_json(folder / "dataset.json", KARPATHY)
    with pytest.raises(BadInput, match="no split 'dev'; the captions have restval, test, train"):
        open_pairs(captions, split="dev")
    with pytest.raises(BadInput, match="no splits"):
        open_pairs(write_json(folder / "captions.json", COCO), split="test")


def test_a_split_of_what_has_none_is_refused(folder: Path):
    write_lines(folder / "red.txt", "red")
    with pytest.raises(BadInput, match=r"images' has no splits; only Karpathy's JSON files have them\.$"):
        open_pairs(folder, split="test")
    with pytest.raises(BadInput, match=r"a\.tar' has no splits"):
        open_pairs(write_files(folder, {"a.tar": b""}) / "a.tar", split="test")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("results_20130124.token", ["red.png#0\ta red, red one", "red.png#1\tred", "blue.png#0\t蓝"]),
        ("captions.txt", ["image,caption", '"red.png","a red, red one"', "red.png,red", "blue.png,蓝"]),
        ("captions.csv", ["image,caption", "red.png,a red, red one", "red.png,red", "blue.png,蓝"]),
        (
            "results.csv",
            ["image_name| comment_number| comment", "red.png| 0| a red, red one", "red.png| 1| red", "blue.png| 0| 蓝"],
        ),
        ("captions.tsv", ["filepath\ttitle", "red.png\ta red, red one", "red.png\tred", "blue.png\t蓝"]),
    ],
)
def test_flickrs_tables(folder: Path, name: str, lines: list[str]):
    write_lines(folder / name, *lines)
    assert told(open_pairs(folder)) == [("red.png", "a red, red one"), ("red.png", "red"), ("blue.png", "蓝")]


def test_a_row_that_names_no_file_is_skipped(folder: Path):
    """As one row of Flickr30k's results.csv lacks a bar, and as images get lost."""
    header = "image_name| comment_number| comment"
    write_lines(folder / "results.csv", header, "red.png| 0| red", "blue.png| 1  blue", "gone.png| 0| gone")
    pairs = open_pairs(folder)
    assert told(pairs) == [("red.png", "red")]
    assert [(problem.name, problem.reason[:7]) for problem in pairs.problems] == [
        ("row 3", "It has "),
        ("row 4", "There i"),
    ]


def test_images_are_found_in_a_folder_beside_the_captions(tmp_path: Path):
    """As Flickr8k is unpacked: captions.txt, Images/."""
    write_files(tmp_path / "Images", IMAGES)
    write_lines(tmp_path / "captions.txt", "image,caption", "red.png,red")
    assert told(open_pairs(tmp_path)) == [("red.png", "red")]
    assert told(open_pairs(tmp_path / "captions.txt")) == [("red.png", "red")]


def test_a_text_file_beside_each_image(folder: Path):
    write_lines(folder / "red.txt", "\ufeffone", "", "two")
    write_lines(folder / "green.txt", "")
    pairs = open_pairs(folder)
    assert told(pairs) == [("red.png", "one"), ("red.png", "two")]
    assert [Path(problem.name).name for problem in pairs.problems] == ["blue.png", "green.png"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "has another shape"),
        ({"annotations": []}, "lacks 'images'"),
        ({"images": [{"id": 1}]}, "lacks 'annotations'"),
        ({"images": [{"id": 1}], "annotations": []}, "lacks 'file_name'"),
        ({"images": [{"sentences": []}]}, "lacks 'filename'"),
        ({"images": [], "annotations": []}, "No image"),
        ({"images": [1, 2]}, "has another shape"),
    ],
)
def test_json_of_another_shape_is_refused(folder: Path, document: Any, words: str):
    with pytest.raises(BadInput, match=words):
        open_pairs(write_json(folder / "captions.json", document))


def test_a_source_without_pairs_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(BadInput, match="no images with captions"):
        open_pairs(folder)
    with pytest.raises(BadInput, match="no file or folder"):
        open_pairs(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(BadInput, match="cannot be read twice"):
        open_pairs(tmp_path / "pipe.tsv")
    with pytest.raises(BadInput, match="cannot be read"):
        open_pairs(folder, captions=tmp_path / "nowhere.json")
    (folder / "captions.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match="is not JSON"):
        open_pairs(folder)
    write_lines(folder / "captions.txt", "image,caption", "red.png,red")
    with pytest.raises(BadInput, match="several captions files"):
        open_pairs(folder)
    with pytest.raises(BadInput, match="is a file"):
        open_pairs(folder / "captions.txt", captions=folder / "captions.json")
