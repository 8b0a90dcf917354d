from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipcore.folder_search.duplicates import clusters, find_duplicates, find_identical, near_threshold
from clipcore.folder_search.paths import root_of
from clipcore.folder_search.search import LazyModel
from clipcore.folder_search.store import FolderStore
from clipcore.folder_search.sync import index_folder
from clipcore.model import ClipModel
from clipcore.models.known_models import BUNDLED_DIRECTORY
from clipcore.types import Calibration
from tests.folder_search.support import paint, unit, write

SAMPLES = BUNDLED_DIRECTORY / "samples"


def groups_of(indexed, min_score=0.999):
    indexed.run()
    with FolderStore(indexed.file) as store:
        groups = find_duplicates(store, indexed.root, indexed.model.card.key, min_score=min_score)
    return [(group.kind, [indexed.name(copy.file.path) for copy in group.copies]) for group in groups]


def test_copies_and_look_alikes_are_groups_the_largest_first(indexed):
    paint(indexed.folder / "a.png", "red", width=8)
    paint(indexed.folder / "b.png", "red", width=99)
    paint(indexed.folder / "c.png", "red", width=8)
    paint(indexed.folder / "d.png", "blue")
    paint(indexed.folder / "e.png", "blue")
    paint(indexed.folder / "f.png", "green")
    found = groups_of(indexed)
    assert sorted(found) == [("alike", ["b.png", "a.png", "c.png"]), ("identical", ["d.png", "e.png"])]


def test_the_group_with_most_to_gain_comes_first(indexed):
    for name in ("a", "b"):
        paint(indexed.folder / f"{name}.png", "blue")
        paint(indexed.folder / f"{name}2.png", "red", width=400)
    assert groups_of(indexed) == [("identical", ["a2.png", "b2.png"]), ("identical", ["a.png", "b.png"])]


def test_names_of_one_file_are_no_copies_of_it(indexed):
    """Whoever deletes "the copy" would delete the image."""
    real = paint(indexed.folder / "m.png")
    os.link(real, indexed.folder / "hard.png")
    (indexed.folder / "a-link.png").symlink_to(real)
    assert groups_of(indexed) == []
    assert find_identical(indexed.root) == []
    shutil.copy(real, indexed.folder / "z.png")
    assert groups_of(indexed) == [("identical", ["hard.png", "z.png"])]
    (group,) = find_identical(indexed.root)
    assert [indexed.name(link) for link in group.copies[0].links] == ["m.png", "a-link.png"]
    assert group.spare_bytes == real.stat().st_size


def test_a_copy_that_is_gone_by_now_is_none(indexed):
    for name in ("a", "b"):
        paint(indexed.folder / f"{name}.png")
    indexed.run()
    (indexed.folder / "b.png").unlink()
    with FolderStore(indexed.file) as store:
        assert find_duplicates(store, indexed.root, indexed.model.card.key, min_score=0.9) == []


def test_files_that_another_process_forgets_meanwhile_are_left_out(indexed):
    paint(indexed.folder / "gone.png", "red", width=99)
    for name in ("a", "b"):
        paint(indexed.folder / f"{name}.png", "blue")
    indexed.run()

    class Forgetful(FolderStore):
        def vectors_below(self, root, model):
            yield from list(super().vectors_below(root, model))
            self.write(model, [], [], gone=[os.fsencode(indexed.folder / "gone.png")])

    with Forgetful(indexed.file) as store:
        (group,) = find_duplicates(store, indexed.root, indexed.model.card.key, min_score=0.999)
    assert [indexed.name(copy.file.path) for copy in group.copies] == ["a.png", "b.png"]


def test_identical_files_are_found_without_model_or_index_and_read_only_where_sizes_agree(indexed, monkeypatch):
    paint(indexed.folder / "a.png")
    paint(indexed.folder / "deep" / "b.png")
    odd = paint(indexed.folder / "c.png", width=77)
    for name in ("empty.png", "void.png"):
        write(indexed.folder / name, b"")
    opened = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args: opened.append(path.name) or real_open(path, *args))
    (group,) = find_identical(indexed.root)
    assert [indexed.name(copy.file.path) for copy in group.copies] == ["a.png", "deep/b.png"]
    assert odd.name not in opened
    assert not indexed.file.exists()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.2, 0.99), st.integers(0, 999))
def test_all_of_a_group_resemble_its_first_and_firsts_do_not_resemble_each_other(count, least, seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(count, 3)))
    groups = clusters(vectors, least)
    assert sorted(row for group in groups for row, _ in group) == list(range(count))
    leaders = [group[0][0] for group in groups]
    for group in groups:
        for row, cosine in group[1:]:
            assert cosine == pytest.approx(float(vectors[group[0][0]] @ vectors[row]), abs=1e-5)
            assert cosine >= least - 1e-6
            assert row > group[0][0]
            earlier = [leader for leader in leaders if leader < group[0][0]]
            assert not (vectors[earlier] @ vectors[row] >= least + 1e-6).any(), "it resembles one that is preferred"
    between = vectors[leaders] @ vectors[leaders].T - 2 * np.eye(len(leaders))
    assert between.max() < least + 1e-6


def test_blocks_do_not_change_the_groups(monkeypatch):
    vectors = unit(np.random.default_rng(1).normal(size=(500, 3)))
    at_once = clusters(vectors, 0.9)
    monkeypatch.setattr("clipcore.folder_search.duplicates._MAX_COSINES", 500 * 7)
    assert clusters(vectors, 0.9) == at_once


@pytest.mark.parametrize(("alike", "least"), [(0.75, 0.95), (0.5, 0.9)])
def test_all_but_the_same_is_much_more_than_alike(alike, least):
    assert near_threshold(Calibration(0.2, alike, 0.2)) == pytest.approx(least)


@pytest.fixture(scope="module")
def bundled() -> ClipModel:
    return ClipModel.load("bundled", device="cpu", precision="fp32", local_only=True)


def test_with_the_bundled_model_resized_and_recompressed_samples_are_found_and_nothing_else(bundled, tmp_path):
    """What the default threshold was measured on."""
    folder = tmp_path / "images"
    folder.mkdir()
    names = sorted(path.stem for path in SAMPLES.glob("*.png"))
    for name in names:
        with Image.open(SAMPLES / f"{name}.png") as image:
            image.save(folder / f"{name}.png")
            image.convert("RGB").resize((160, 160)).save(folder / f"{name}-small.png")
            image.convert("RGB").save(folder / f"{name}.jpg", quality=60)
    lazy = LazyModel.named("bundled", lambda: bundled)
    with FolderStore(tmp_path / "i.sqlite3") as store:
        index_folder(store, root_of(folder), lazy, lambda step: None)
        groups = find_duplicates(store, root_of(folder), lazy.key, min_score=near_threshold(lazy.calibration))
    found = sorted(sorted(Path(os.fsdecode(copy.file.path)).name for copy in group.copies) for group in groups)
    assert found == sorted(sorted([f"{name}.png", f"{name}-small.png", f"{name}.jpg"]) for name in names)
