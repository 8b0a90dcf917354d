from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from clipcore.errors import BadInput
from clipcore.evaluation.classification import Classification
from clipcore.evaluation.plots import check_drawable, draw_confusions


def result(classes: int, *, right: int = 1, names: list[str] | None = None) -> Classification:
    counts = right * np.eye(classes, dtype=np.int64)
    return Classification(tuple(names or [f"class {row}" for row in range(classes)]), counts, classes)


@pytest.mark.parametrize("classes", [1, 2, 24, 40, 201])
def test_an_image_is_drawn_for_any_number_of_classes(tmp_path, classes):
    path = tmp_path / "confusion.png"
    draw_confusions(result(classes), path, "a title")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 300 < min(image.size) <= max(image.size) < 3500


def test_a_cell_is_as_dark_as_its_share_of_the_row_and_shows_its_count(tmp_path):
    counts = np.array([[300, 100], [0, 4]], np.int64)
    path = tmp_path / "confusion.svg"
    draw_confusions(Classification(("a", "b"), counts, 0), path, "")
    drawn = path.read_text(encoding="utf-8")
    shown = re.findall(r"<!-- (\d+) -->", drawn)
    assert [number for number in shown if number in ("300", "100", "4", "0")] == ["300", "100", "4"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.findall(r"base64,([^\"]+)", drawn)[0]))).convert("L"))
    pixels = pixels[::-1]  # matplotlib draws images in an SVG bottom up
    height, width = pixels.shape
    dark = [int(pixels[height * row // 4, width * column // 4]) for row in (1, 3) for column in (1, 3)]
    [most, least, none, all_of_it] = dark
    assert all_of_it < most < least < none


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
def test_an_unusable_image_file_is_refused_beforehand(tmp_path, name, said):
    with pytest.raises(BadInput, match=said):
        check_drawable(tmp_path / name)
