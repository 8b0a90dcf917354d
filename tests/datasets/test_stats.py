from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipcore.datasets import Problem
from clipcore.datasets.stats import ImageStats, measure_images, take_inventory
from clipcore.encoding.batch import ImageSource
from clipcore.errors import BadInput
from clipcore.images.preprocess import Preprocessing
from tests.clipcore.images import encode, noise, png
from tests.datasets.tables import BLUE, GREEN, RED, row, url_safe, write_files, write_lines


def measured(images: Sequence[bytes], size: int | None = None) -> ImageStats:
    stats = ImageStats()
    sources = [ImageSource(str(number), lambda data=data: data) for number, data in enumerate(images)]
    for outcome in measure_images(sources, size=size):
        assert isinstance(outcome, ImageStats)
        stats.add(outcome)
    return stats


def as_numpy(pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    everything = np.concatenate([one.reshape(-1, 3) for one in pixels]).astype(np.float64) / 255
    return everything.mean(axis=0), everything.std(axis=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99)), min_size=1, max_size=5))
def test_mean_and_deviation_are_numpys_of_everything_at_once(sizes: list[tuple[int, int, int]]):
    pixels = [noise(width, height, seed) for width, height, seed in sizes]
    stats = measured([encode(Image.fromarray(one)) for one in pixels])
    mean, std = as_numpy(pixels)
    np.testing.assert_allclose(stats.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(stats.std, std, rtol=1e-9, atol=1e-12)
    assert stats.images == len(sizes)
    assert sorted(stats.widths.elements()) == sorted(width for width, _, _ in sizes)


def test_a_tiny_deviation_far_from_zero_is_kept():
    """One pixel in a million off: sums of squares in float32 would lose it."""
    pixels = np.full((1000, 1000, 3), 254, np.uint8)
    pixels[0, 0] = 255
    stats = measured([encode(Image.fromarray(pixels))])
    np.testing.assert_allclose(stats.std, [1e-3 / 255] * 3, rtol=1e-5)


def test_with_a_size_the_model_s_squares_are_measured():
    pixels = noise(40, 20)
    stats = measured([encode(Image.fromarray(pixels))], size=10)
    mean, std = as_numpy([Preprocessing(size=10, crop=10).prepare(pixels)])
    # Decoding may shrink by a whole number first, as it does for a model.
    np.testing.assert_allclose(stats.mean, mean, atol=0.01)
    np.testing.assert_allclose(stats.std, std, atol=0.05)
    assert int(stats.levels[0].sum()) == 100
    assert (stats.widths, stats.heights) == ({40: 1}, {20: 1})


def test_broken_images_are_reported_in_order():
    sources = [ImageSource("good", lambda: RED), ImageSource("bad", lambda: RED[:60])]
    sources.append(ImageSource("gone", Path("nowhere.png").read_bytes))
    good, bad, gone = measure_images(sources)
    assert isinstance(good, ImageStats)
    assert bad == Problem("bad", "The PNG image is truncated or broken.")
    assert gone == Problem("gone", "It cannot be read: No such file or directory.")


def test_nothing_has_no_mean():
    assert np.isnan(ImageStats().mean).all()


def test_what_a_data_set_holds(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/1.png": RED, "a/deep/2.png": BLUE, "b/1.png": GREEN, "c.png": RED})
    assert (take_inventory(folder).classes, len(take_inventory(folder).images)) == ({"a": 2, "b": 1}, 4)
    labels = write_lines(tmp_path / "l.tsv", row("x", RED), row("x", BLUE), row("y", GREEN), row("y", png("pink")))
    assert (take_inventory(labels).classes, take_inventory(labels).captions) == ({"x": 2, "y": 2}, 4)
    captions = write_lines(tmp_path / "c.tsv", row("one", RED), row("two", BLUE), row("three", BLUE))
    assert (take_inventory(captions).classes, len(take_inventory(captions).images)) == ({}, 2)
    alone = write_lines(tmp_path / "one.tsv", url_safe(RED), url_safe(BLUE))
    with pytest.raises(BadInput, match="no texts"):
        take_inventory(alone)
    with pytest.raises(BadInput, match="no images"):
        take_inventory(write_files(tmp_path / "none", {"a.txt": b""}))


def test_any_mode_is_counted_as_models_see_it():
    """Transparent is white, and gray has three equal channels."""
    buffer = io.BytesIO()
    Image.new("LA", (4, 4), (10, 0)).save(buffer, "PNG")
    assert measured([buffer.getvalue()]).mean == (1.0, 1.0, 1.0)
