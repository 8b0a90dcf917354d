from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from clipcore.datasets import open_labelled
from clipcore.errors import BadInput
from tests.datasets.tables import BLUE, GREEN, RED, row, write_files, write_lines


def test_a_folder_for_each_class(tmp_path: Path):
    write_files(tmp_path, {"cat/b.png": RED, "cat/deep/a.png": BLUE, "bird/x.png": GREEN, ".hidden/y.png": RED})
    (tmp_path / "empty").mkdir()
    found = open_labelled(tmp_path)
    assert found.classes == ("bird", "cat", "empty")
    assert found.class_of.tolist() == [0, 1, 1]
    assert [image.read() for image in found.images] == [GREEN, RED, BLUE]


def test_a_table_of_labels_and_images(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("猫", RED), row("dog", BLUE), "dog", row("dog", RED))
    found = open_labelled(table)
    assert found.classes == ("dog", "猫")
    assert found.class_of.tolist() == [1, 0, 0]
    # The same image under two labels stays two images.
    assert [image.read() for image in found.images] == [RED, BLUE, RED]
    assert [problem.name for problem in found.problems] == ["row 3"]


@pytest.mark.parametrize("lines", [["cat/b.png\tcat", "x.png\tbird"], ["cat\tcat/b.png", "bird\tx.png"]])
def test_a_table_of_labels_and_paths(tmp_path: Path, lines: list[str]):
    write_files(tmp_path, {"cat/b.png": RED, "x.png": GREEN})
    found = open_labelled(write_lines(tmp_path / "labels.tsv", *lines))
    assert [(found.classes[at], found.images[n].read()) for n, at in enumerate(found.class_of)] == [
        ("cat", RED),
        ("bird", GREEN),
    ]


def test_an_image_that_is_listed_twice_counts_twice(tmp_path: Path):
    write_files(tmp_path, {"x.png": GREEN})
    found = open_labelled(write_lines(tmp_path / "labels.tsv", "x.png\tcat", "x.png\tbird"))
    assert (len(found), found.class_of.tolist()) == (2, [1, 0])


def test_a_source_without_classes_is_refused(tmp_path: Path):
    write_files(tmp_path, {"a.png": RED})
    with pytest.raises(BadInput, match="no folders with images"):
        open_labelled(tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        open_labelled(tmp_path / "nowhere")


def test_one_long_text_does_not_make_all_the_others_as_long(tmp_path: Path):
    write_files(tmp_path, {"x.png": GREEN})
    table = write_lines(tmp_path / "labels.tsv", "x.png\t" + 100_000 * "long ", *(500 * ["x.png\tcat"]))
    tracemalloc.start()
    found = open_labelled(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found), found.classes[0], len(found.classes[1])) == (501, "cat", 499_999)
    assert peak < 32 * 1024 * 1024
