from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipcore.folder_search.store import KnownFile
from clipcore.folder_search.sync import FileStatus, Reading, Step, decide
from clipcore.images.walk import ImageFile, Unreadable, UnsupportedFormat


def seen(path: bytes, mtime: int = 1) -> ImageFile:
    return ImageFile(path, 10, mtime)


def known(path: bytes, mtime: int = 1, *, complete: bool = True) -> KnownFile:
    return KnownFile(seen(path, mtime), complete)


def forgotten(path: bytes) -> Step:
    return Step(path, FileStatus.FORGOTTEN)


def unchanged(path: bytes) -> Step:
    return Step(path, FileStatus.UNCHANGED, known=True)


def test_each_file_is_compared_with_what_is_known_of_it():
    entries = [seen(b"/a"), seen(b"/b", 2), seen(b"/d"), seen(b"/e")]
    rows = [known(b"/a"), known(b"/b"), known(b"/c"), known(b"/e", complete=False), known(b"/f")]
    assert list(decide(entries, rows)) == [
        unchanged(b"/a"),
        Reading(entries[1], changed=True),
        forgotten(b"/c"),
        Reading(entries[2]),
        Reading(entries[3]),
        forgotten(b"/f"),
    ]


def test_another_size_is_a_change_whatever_the_clock_says():
    larger = ImageFile(b"/a", 11, 1)
    assert list(decide([larger], [known(b"/a")])) == [Reading(larger, changed=True)]


def test_below_a_folder_that_cannot_be_listed_nothing_is_forgotten():
    locked = Unreadable(b"/b/", "locked")
    rows = [known(b"/a/x"), known(b"/b/x"), known(b"/b/y/z"), known(b"/b0"), known(b"/c")]
    unreadable = Step(b"/b/", FileStatus.UNREADABLE, "locked")
    steps = [forgotten(b"/a/x"), unreadable, forgotten(b"/b0"), unchanged(b"/c")]
    assert list(decide([locked, seen(b"/c")], rows)) == steps


def test_a_file_that_cannot_be_looked_at_is_not_forgotten_and_its_namesakes_are():
    dangling = Unreadable(b"/b", "dangling")
    rows = [known(b"/b"), known(b"/b.png")]
    steps = [Step(b"/b", FileStatus.UNREADABLE, "dangling"), forgotten(b"/b.png")]
    assert list(decide([dangling], rows)) == steps


def test_what_is_not_read_any_more_is_forgotten():
    rows = [known(b"/a.heic")]
    assert list(decide([UnsupportedFormat(b"/a.heic", ".heic")], rows))[1:] == [forgotten(b"/a.heic")]


paths = st.sets(st.text("ab/.-", min_size=1, max_size=4).map(str.encode))


@given(paths, paths)
def test_every_row_and_every_file_is_decided_on_once(there, remembered):
    decisions = list(decide(map(seen, sorted(there)), map(known, sorted(remembered))))
    assert {d.file.path for d in decisions if isinstance(d, Reading)} == there - remembered
    steps = {d.path: d.status for d in decisions if isinstance(d, Step)}
    assert {path for path, status in steps.items() if status is FileStatus.UNCHANGED} == there & remembered
    assert {path for path, status in steps.items() if status is FileStatus.FORGOTTEN} == remembered - there
    assert len(decisions) == len(there | remembered)
