from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from clipcore.images.walk import ImageFile, Unreadable, walk
from tests.folder_search.support import write

folders = st.lists(st.sampled_from(["a", "a-", "b", "é"]), max_size=2).map(tuple)
files = st.sampled_from(["a.png", "a-.png", "a0.png", "B.png", "é.png"])


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(folders, files)))
def test_files_are_met_in_the_order_of_their_whole_paths_bytes(tmp_path_factory, places):
    root = tmp_path_factory.mktemp("walked")
    for folder, file in places:
        write(root.joinpath(*folder) / file, b"x")
    met = [entry.path for entry in walk(os.fsencode(root))]
    assert met == sorted(os.fsencode(path) for path in root.rglob("*.png") if path.is_file())


def test_size_and_time_are_those_of_the_file(tmp_path):
    path = write(tmp_path / "a.JPG", b"12345", mtime=7)
    assert list(walk(os.fsencode(tmp_path))) == [ImageFile(os.fsencode(path), 5, 7_000_000_000)]


def test_of_what_is_called_like_an_image_and_is_no_file_folders_are_passed_over_and_the_rest_is_told(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "folder.png")
    os.mkfifo(tmp_path / "pipe.png")
    told = Unreadable(os.fsencode(tmp_path / "pipe.png"), "It cannot be read: it is a pipe or a device, not a file.")
    assert list(walk(os.fsencode(tmp_path))) == [told]


def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    """Here because it is none; for whoever may not list it the answer is the same."""
    root = os.fsencode(write(tmp_path / "file", b""))
    assert list(walk(root)) == [Unreadable(root + b"/", "The folder cannot be listed: Not a directory.")]


def test_a_file_that_vanishes_after_its_folder_was_listed_is_no_complaint(tmp_path):
    for name in ("a.png", "b.png"):
        write(tmp_path / name, b"")
    entries = walk(os.fsencode(tmp_path))
    next(entries)
    (tmp_path / "b.png").unlink()
    assert list(entries) == []


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone")
    told = Unreadable(os.fsencode(tmp_path / "link.png"), "It cannot be read: the link is broken.")
    assert list(walk(os.fsencode(tmp_path))) == [told]


def test_a_folder_that_vanished_is_no_complaint(tmp_path):
    assert list(walk(os.fsencode(tmp_path / "gone"))) == []
