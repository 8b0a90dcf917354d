from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification
from clipcore.evaluation.plots import check_drawable, draw_confusions


def result(classes: int, *, right: int = 1, names: list[str] | None = None) -> Classification:
    counts = right * np.eye(classes, dtype=np.int64)
    return Classification(tuple(names or [f"class {row}" for row in range(classes)]), counts, classes)


def blue_and_red(path: Path) -> tuple[int, int]:
    """How many pixels are clearly the one or the other, the colour bar's included."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    difference = pixels[..., 2] - pixels[..., 0]
    return int((difference > 50).sum()), int((difference < -50).sum())


@pytest.mark.parametrize("classes", [1, 2, 24, 40, 201])
def test_an_image_is_drawn_for_any_number_of_classes(tmp_path, classes):
    path = tmp_path / "confusion.png"
    draw_confusions(result(classes), path, "a title")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 300 < min(image.size) <= max(image.size) < 3500


def test_what_is_right_is_blue_and_what_is_wrong_is_red(tmp_path):
    right, wrong = tmp_path / "right.png", tmp_path / "wrong.png"
    draw_confusions(result(3), right, "")
    mistaken = Classification(("a", "b", "c"), np.roll(np.eye(3, dtype=np.int64), 1, axis=1), 0)
    draw_confusions(mistaken, wrong, "")
    (blue, red), (less_blue, more_red) = blue_and_red(right), blue_and_red(wrong)
    assert blue > 10_000 > less_blue
    assert more_red > 10_000 > red


def test_the_colour_bar_counts_from_nothing_both_ways(tmp_path):
    path = tmp_path / "confusion.svg"
    draw_confusions(result(3), path, "")
    shares = re.findall(r"<!-- (\d+)% -->", path.read_text(encoding="utf-8"))
    assert list(map(int, shares)) == [100, 50, 25, 10, 0, 10, 25, 50, 100]


@pytest.mark.parametrize("name", ["猫", "$\\frac{1$", "a_b^c", "𒀭 rare", "long " * 40, ""])
def test_any_words_can_be_a_class(tmp_path, name):
    path = tmp_path / "confusion.png"
    draw_confusions(result(2, names=[name, "b"]), path, name)
    assert path.stat().st_size > 1000


def test_classes_without_images_are_drawn_empty(tmp_path):
    path = tmp_path / "confusion.png"
    draw_confusions(result(3, right=0), path, "")
    assert path.is_file()


@pytest.mark.parametrize(("name", "said"), [("confusion.txt", "confusion.png"), ("none/c.png", "no folder")])
def test_a_file_that_cannot_be_drawn_into_is_refused_beforehand(tmp_path, name, said):
    with pytest.raises(BadInput, match=said):
        check_drawable(tmp_path / name)
