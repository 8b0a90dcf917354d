from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from clipcore.folder_search import store as database
from clipcore.folder_search.store import (
    APPLICATION,
    Content,
    FolderStore,
    IndexUnusable,
    State,
    connect,
    default_location,
)
from clipcore.images.walk import ImageFile
from tests.folder_search.support import unit

VECTOR = unit([[1, 2, 3, 4]])[0]


def test_a_broken_file_is_one_sentence(tmp_path):
    (tmp_path / "i.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(IndexUnusable, match=r"is broken; delete it and run `clipcore index` again\.$"):
        FolderStore(tmp_path / "i.sqlite3")


def test_a_file_that_breaks_later_is_one_sentence(tmp_path):
    with FolderStore(tmp_path / "i.sqlite3") as store:
        store.write("m@1#1", [Content(bytes([n]) * 32, State.IMAGE, vector=VECTOR) for n in range(200)], [], [])
    data = bytearray((tmp_path / "i.sqlite3").read_bytes())
    data[4096:] = b"\xee" * (len(data) - 4096)
    (tmp_path / "i.sqlite3").write_bytes(data)
    with FolderStore(tmp_path / "i.sqlite3") as store, pytest.raises(IndexUnusable, match="is broken"):
        store.prune()


def test_another_programs_file_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "i.sqlite3")) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(IndexUnusable, match="another program's database"):
        FolderStore(tmp_path / "i.sqlite3")


def test_a_newer_file_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "i.sqlite3")) as connection:
        connection.execute("CREATE TABLE newer (x)")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(IndexUnusable, match="written by a newer clipcore"):
        FolderStore(tmp_path / "i.sqlite3")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IndexUnusable, match="name another file with CLIPCORE_INDEX"):
        FolderStore(tmp_path / "file" / "i.sqlite3")


def test_an_index_in_use_is_waited_for_and_then_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with FolderStore(tmp_path / "i.sqlite3") as store, FolderStore(tmp_path / "i.sqlite3") as other:
        other._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexUnusable, match="in use by another program"):
            store.prune()
        other._connection.execute("ROLLBACK")
        store.prune()


def test_a_mistake_of_ours_is_no_sentence_about_the_file(tmp_path):
    with FolderStore(tmp_path / "i.sqlite3") as store, pytest.raises(sqlite3.OperationalError):
        store._rows("SELECT nonsense", ())


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    content = Content(b"1" * 32, State.IMAGE, vector=VECTOR)
    wrong = Content(b"too short", State.IMAGE, vector=VECTOR)
    with FolderStore(tmp_path / "i.sqlite3") as store:
        with pytest.raises(sqlite3.IntegrityError):
            store.write("m@1#1", [content, wrong], [(ImageFile(b"/a", 1, 1), b"1" * 32)], [])
        assert not store.settled(b"1" * 32, "m@1#1")
        store.write("m@1#1", [content], [(ImageFile(b"/a", 1, 1), b"1" * 32)], [])
        assert store.settled(b"1" * 32, "m@1#1")


def test_a_disk_that_fills_up_in_the_middle_is_one_sentence_and_loses_nothing(tmp_path):
    many = [Content(number.to_bytes(32), State.IMAGE, vector=VECTOR) for number in range(2000)]
    with FolderStore(tmp_path / "i.sqlite3") as store:
        store.write("m@1#1", many[:1], [], [])
        store._connection.execute("PRAGMA max_page_count = 30")
        store._connection.execute("PRAGMA cache_size = 1")
        with pytest.raises(IndexUnusable, match="disk is full"):
            store.write("m@1#1", many, [], [])
        assert store.settled(many[0].hash, "m@1#1") and not store.settled(many[1].hash, "m@1#1")
        store.write("m@1#1", many[1:2], [], [])


def test_whoever_comes_second_finds_the_tables_made(tmp_path):
    """Two processes may both have seen an empty file."""
    with closing(connect(tmp_path / "i.sqlite3")) as connection:
        connection.executescript(database._SCHEMA)


OPENS = """
import sys
from pathlib import Path
from clipcore.folder_search.store import FolderStore
with FolderStore(Path(sys.argv[1])):
    pass
"""


def test_several_processes_may_make_the_same_index_at_once(tmp_path):
    command = [sys.executable, "-c", OPENS, str(tmp_path / "deep" / "i.sqlite3")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * 4
    assert [process.returncode for process in started] == [0] * 4


def test_the_index_lies_in_the_users_cache():
    assert default_location().name == "folders.sqlite3"
    assert "clipcore" in default_location().parts


def test_more_files_than_a_page_are_all_known(tmp_path):
    content = Content(b"1" * 32, State.IMAGE, vector=VECTOR)
    paths = [f"/root/{number:05}".encode() for number in range(9000)]
    with FolderStore(tmp_path / "i.sqlite3") as store:
        store.write("m@1#1", [content], [(ImageFile(path, 1, 1), b"1" * 32) for path in paths], [])
        assert [known.file.path for known in store.known_files(b"/root", "m@1#1")] == paths
