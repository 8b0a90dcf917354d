from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipcore.errors import ModelUnavailable
from clipcore.folder_search.contact_sheet import draw_sheet
from clipcore.folder_search.paths import root_of
from clipcore.folder_search.search import LazyModel, Term
from clipcore.folder_search.store import FolderStore
from clipcore.folder_search.sync import index_folder
from clipcore.images.decode import OWN_FILES
from clipcore.images.walk import WalkFilter
from clipcore.types import Pixels, Vectors
from tests.folder_search.support import CALIBRATION, CountingModel, everything, paint, rows, write


def test_an_unchanged_folder_is_neither_read_nor_needs_the_model(indexed, monkeypatch):
    paint(indexed.folder / "a.png")
    assert indexed.run() == {"a.png": "encoded"}
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    assert indexed.run() == {"a.png": "unchanged"}
    assert indexed.model.loads == 1


def test_a_changed_file_is_read_again(indexed):
    path = paint(indexed.folder / "a.png", "red", mtime=1)
    indexed.run()
    before = everything(indexed.file)
    paint(path, "blue", mtime=2)
    assert indexed.run() == {"a.png": "encoded"}
    assert everything(indexed.file)[2] != before[2]
    assert len(everything(indexed.file)[1]) == 1, "the former content is still indexed"


def test_copies_and_renamed_and_moved_files_cost_no_inference(indexed):
    first = paint(indexed.folder / "a.png")
    paint(indexed.folder / "b.png", "blue")
    indexed.run()
    shutil.copy(first, indexed.folder / "copy.png")
    (indexed.folder / "deep").mkdir()
    (indexed.folder / "b.png").rename(indexed.folder / "deep" / "moved.png")
    assert indexed.run() == {
        "a.png": "unchanged",
        "b.png": "forgotten",
        "copy.png": "reused",
        "deep/moved.png": "reused",
    }
    assert (indexed.model.encoded, indexed.model.loads) == (2, 1)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_copies_that_arrive_together_are_encoded_once(indexed, batch_size):
    for number in range(20):
        paint(indexed.folder / f"{number}.png", ("red", "blue")[number % 2])
    indexed.batch_size = batch_size
    status = indexed.run()
    assert indexed.model.encoded == 2
    assert sorted(status.values()) == ["encoded"] * 2 + ["reused"] * 18
    assert len(everything(indexed.file)[0]) == 20


def test_a_broken_file_is_named_each_time_and_read_once(indexed, monkeypatch):
    write(indexed.folder / "a.png", b"\x89PNG\r\n\x1a\n and then nothing")
    paint(indexed.folder / "b.png")
    assert indexed.run() == {"a.png": "broken", "b.png": "encoded"}
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    assert indexed.reasons() == {"a.png": "The PNG image is truncated or broken."}


def test_a_broken_file_that_was_mended_is_indexed(indexed):
    write(indexed.folder / "a.png", b"no image", mtime=1)
    indexed.run()
    paint(indexed.folder / "a.png", mtime=2)
    assert indexed.run() == {"a.png": "encoded"}
    assert indexed.reasons() == {}


def test_a_copy_of_a_broken_file_is_broken(indexed):
    write(indexed.folder / "a.png", b"no image")
    write(indexed.folder / "b.png", b"no image")
    assert indexed.run() == {"a.png": "broken", "b.png": "broken"}


def test_an_image_beyond_the_limits_is_tried_again_next_time(indexed):
    paint(indexed.folder / "a.png", width=64)
    steps = []
    with FolderStore(indexed.file) as store:
        small = replace(OWN_FILES, max_pixels=10)
        index_folder(store, indexed.root, indexed.model.lazily(), steps.append, limits=small)
    assert [step.status.value for step in steps] == ["unreadable"]
    assert indexed.model.loads == 0, "a refusal needs no model, however often it is repeated"
    assert indexed.run() == {"a.png": "encoded"}


def test_a_file_of_too_many_bytes_is_not_read_at_all(indexed, monkeypatch):
    paint(indexed.folder / "a.png")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    steps = []
    with FolderStore(indexed.file) as store:
        small = replace(OWN_FILES, max_bytes=10)
        index_folder(store, indexed.root, indexed.model.lazily(), steps.append, limits=small)
    assert [(step.status.value, "at most 10 are read" in step.reason) for step in steps] == [("unreadable", True)]


def test_a_file_that_cannot_be_read_is_tried_again(indexed, monkeypatch):
    paint(indexed.folder / "a.png")

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        assert indexed.reasons() == {"a.png": "It cannot be read: Permission denied."}
    assert indexed.run() == {"a.png": "encoded"}


def test_an_image_with_a_non_finite_embedding_is_tried_again(indexed):
    class Lost(CountingModel):
        def encode_prepared(self, batch: Pixels) -> Vectors:
            return super().encode_prepared(batch) * np.float32(np.nan)

    paint(indexed.folder / "a.png")
    assert replace(indexed, model=Lost()).run() == {"a.png": "unreadable"}
    assert indexed.run() == {"a.png": "encoded"}


def test_an_unreadable_file_is_forgotten_only_if_it_has_changed(indexed):
    """Of a changed file, what is known is of bytes that are no longer there; of another, it is as true as before."""
    changed = paint(indexed.folder / "changed.png", "red", mtime=1)
    paint(indexed.folder / "same.png", "blue", width=64)
    indexed.run()
    paint(changed, "green", width=64, mtime=2)
    with FolderStore(indexed.file) as store:
        small = replace(OWN_FILES, max_pixels=10)
        index_folder(store, indexed.root, CountingModel("other").lazily(), lambda step: None, limits=small)
    assert [path for path, *_ in everything(indexed.file)[0]] == [os.fsencode(indexed.folder.resolve() / "same.png")]
    assert indexed.run() == {"changed.png": "encoded", "same.png": "unchanged"}


def test_copies_of_an_image_that_cannot_be_encoded_are_unreadable(indexed):
    for name in ("a", "b", "c"):
        paint(indexed.folder / f"{name}.png", width=64)
    steps = []
    with FolderStore(indexed.file) as store:
        small = replace(OWN_FILES, max_pixels=10)
        index_folder(store, indexed.root, indexed.model.lazily(), steps.append, batch_size=1, limits=small)
    assert [step.status.value for step in steps] == ["unreadable"] * 3
    assert sorted(indexed.run().values()) == ["encoded", "reused", "reused"], "the limit was lifted"


def test_embeddings_of_different_models_never_mix(indexed):
    paint(indexed.folder / "a.png")
    indexed.run()
    other = replace(indexed, model=CountingModel("other"))
    assert other.run() == {"a.png": "encoded"}
    assert indexed.run() == {"a.png": "unchanged"}
    with FolderStore(indexed.file) as store:
        assert store.count_images(indexed.root) == {"counting@1#1": 1, "other@1#1": 1}
    assert [key for _, key, _ in everything(indexed.file)[2]] == ["counting@1#1", "other@1#1"]


def test_only_what_is_below_the_scanned_folder_is_forgotten(indexed):
    """Names that begin like the folder lie before and behind what is below it, in the order of bytes."""
    paint(indexed.folder / "inner" / "a.png", "red")
    paint(indexed.folder / "inner" / "b.png", "green")
    namesakes = [paint(indexed.folder / f"inner{more}.png", "blue") for more in ("", "0", "é")]
    indexed.run()
    for path in (indexed.folder / "inner" / "a.png", *namesakes):
        path.unlink()
    inner = replace(indexed, folder=indexed.folder / "inner")
    assert inner.run() == {"a.png": "forgotten", "b.png": "unchanged"}
    left = {indexed.name(path) for path, *_ in everything(indexed.file)[0]}
    assert left == {"inner/b.png", "inner.png", "inner0.png", "inneré.png"}


def test_an_emptied_folder_is_taken_for_an_unmounted_drive(indexed):
    path = paint(indexed.folder / "a.png")
    write(indexed.folder / "notes.txt", b"x")
    indexed.run()
    path.unlink()
    assert indexed.run() == {"a.png": "kept"}
    assert len(everything(indexed.file)[0]) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_loses_nothing(indexed):
    locked = indexed.folder / "locked"
    paint(locked / "a.png")
    paint(indexed.folder / "z.png", "blue")
    indexed.run()
    locked.chmod(0)
    try:
        assert indexed.run() == {"locked/": "unreadable", "z.png": "unchanged"}
    finally:
        locked.chmod(0o755)
    assert indexed.run() == {"locked/a.png": "unchanged", "z.png": "unchanged"}


def test_contact_sheets_are_not_indexed_whatever_their_names(indexed):
    image = paint(indexed.folder / "a.png")
    for name in ("sheet.png", "sheet.jpg"):
        draw_sheet(indexed.folder / name, [Term(1, "red")], [])
    shutil.copy(indexed.folder / "sheet.png", indexed.folder / "holiday.png")
    expected = {"a.png": "encoded", "holiday.png": "sheet", "sheet.jpg": "sheet", "sheet.png": "sheet"}
    assert indexed.run() == expected
    assert indexed.run() == dict.fromkeys(expected, "unchanged")
    assert indexed.model.encoded == 1
    assert image.exists()


def test_names_that_are_not_utf_8_are_stored_byte_for_byte(indexed):
    name = b"caf\xe9 \xff.png"
    paint(indexed.folder / "a.png")
    paint(indexed.folder / os.fsdecode(name))
    indexed.run()
    assert rows(indexed.file, "SELECT path FROM files ORDER BY path DESC")[0][0].endswith(b"/" + name)
    assert set(indexed.run().values()) == {"unchanged"}


def test_hidden_and_excluded_names_are_passed_over(indexed):
    for name in (".hidden/a.png", "node_modules/b.png", "thumbs/c.png", "d_small.png", "e.png"):
        paint(indexed.folder / name, "red")
    assert set(indexed.run(WalkFilter(exclude=("thumbs", "*_small.png")))) == {"e.png"}
    assert set(indexed.run(WalkFilter(hidden=True))) == {".hidden/a.png", "thumbs/c.png", "d_small.png", "e.png"}


def test_a_model_that_cannot_be_loaded_raises_and_loses_nothing(indexed):
    paint(indexed.folder / "a.png")

    def load() -> CountingModel:
        raise ModelUnavailable("There is no such model.")

    with FolderStore(indexed.file) as store, pytest.raises(ModelUnavailable):
        index_folder(store, indexed.root, LazyModel("m@1#1", CALIBRATION, load), lambda step: None)
    assert indexed.run() == {"a.png": "encoded"}


def test_an_interruption_keeps_every_committed_batch(indexed):
    for number in range(10):
        paint(indexed.folder / f"{number}.png", width=4 + number)
    done = []

    def interrupt(step):
        done.append(step)
        if len(done) == 4:
            raise KeyboardInterrupt

    indexed.batch_size = 2
    with FolderStore(indexed.file) as store, pytest.raises(KeyboardInterrupt):
        index_folder(store, indexed.root, indexed.model.lazily(), interrupt, batch_size=2)
    assert len(everything(indexed.file)[0]) == 4
    assert sorted(indexed.run().values()) == ["encoded"] * 6 + ["unchanged"] * 4


def test_a_linked_folder_is_not_followed_and_a_linked_file_is(indexed, tmp_path):
    elsewhere = paint(tmp_path / "elsewhere" / "a.png")
    (indexed.folder / "loop").symlink_to(indexed.folder)
    (indexed.folder / "link.png").symlink_to(elsewhere)
    (indexed.folder / "round.png").symlink_to(indexed.folder / "round.png")
    (indexed.folder / "dangling.png").symlink_to(tmp_path / "nothing.png")
    status = indexed.run()
    assert status == {"dangling.png": "unreadable", "link.png": "encoded", "round.png": "unreadable"}


def test_a_link_to_the_folder_names_the_same_folder(indexed, tmp_path):
    paint(indexed.folder / "a.png")
    (tmp_path / "alias").symlink_to(indexed.folder)
    indexed.run()
    assert root_of(tmp_path / "alias") == indexed.root
    assert replace(indexed, folder=tmp_path / "alias").run() == {"a.png": "unchanged"}


def test_unsupported_formats_are_reported_with_their_suffix(indexed):
    write(indexed.folder / "a.PSD", b"x")
    write(indexed.folder / "b.txt", b"x")
    assert indexed.run() == {"a.PSD": "unsupported"}
