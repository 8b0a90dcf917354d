from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress

import pytest
from PIL import Image

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.cli.run import clipcore, start_clipcore
from tests.clipcore.images import encode, noise
from tests.folder_search.support import everything, paint, write

MODEL = ("--model", "bundled", "--device", "cpu")
IMAGES = 150


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCORE_INDEX", str(tmp_path / "index.sqlite3"))
    return tmp_path / "index.sqlite3"


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    shutil.copytree(BUNDLED_DIRECTORY / "samples", folder)
    return folder


def test_index_says_what_it_did(album, index):
    paint(album / "again.png")
    shutil.copy(album / "again.png", album / "copy.png")
    write(album / "broken.jpg", b"\xff\xd8\xff broken")
    write(album / "drawing.psd", b"x")
    ended = clipcore("index", album, *MODEL)
    assert ended.code == 3
    assert ended.out == f"26 images below {album.resolve()} can be searched.\n25 new, 1 copied or moved, 1 broken\n"
    assert ended.err.splitlines() == [
        f"skipped {album.resolve() / 'broken.jpg'}: The JPEG image is truncated or broken.",
        f"Skipped below {album.resolve()}, in unsupported formats: 1 .psd.",
    ]


def test_index_again_only_looks(album, index):
    clipcore("index", album, *MODEL)
    (album / "panda.png").unlink()
    answer = clipcore("index", album, *MODEL, "--json").json()
    assert answer["folders"] == [{"folder": str(album.resolve()), "images": 23}]
    assert {name: number for name, number in answer["files"].items() if number} == {"unchanged": 23, "forgotten": 1}
    assert answer["index"] == str(index)
    assert answer["skipped"] == []


def test_several_folders_and_the_current_one(album, index, tmp_path, monkeypatch):
    paint(tmp_path / "other" / "a.png")
    answer = clipcore("index", album, tmp_path / "other", *MODEL, "--json").json()
    assert [folder["images"] for folder in answer["folders"]] == [24, 1]
    monkeypatch.chdir(tmp_path / "other")
    assert clipcore("index", *MODEL, "--json").json()["folders"][0]["folder"] == str((tmp_path / "other").resolve())


def test_a_folder_given_twice_or_within_another_is_counted_once(album, index):
    paint(album / "deep" / "a.png")
    paint(album / ".hidden" / "b.png")
    answer = clipcore("index", album, album / "deep", f"{album}/", album / ".hidden", *MODEL, "--json").json()
    assert [folder["images"] for folder in answer["folders"]] == [26, 1]
    assert answer["files"]["encoded"] + answer["files"]["reused"] == 26


def test_a_line_break_in_a_name_and_a_link_to_nothing_stay_on_one_line(tmp_path, index):
    write(tmp_path / "album" / "a\nb\x1b[2J.png", b"x")
    (tmp_path / "album" / "link.png").symlink_to(tmp_path / "nothing.png")
    folder = (tmp_path / "album").resolve()
    lines = clipcore("index", folder, *MODEL).err.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [
        f"skipped {folder}/a\N{SYMBOL FOR LINE FEED}b\N{SYMBOL FOR ESCAPE}[2J.png",
        f"skipped {folder}/link.png",
    ]
    (told,) = [line for line in lines if "link.png" in line]
    assert told in clipcore("classify", folder / "link.png", "--labels", "a,b", *MODEL).err


def test_an_emptied_folder_stays_indexed_until_forgotten(album, index):
    clipcore("index", album, *MODEL)
    shutil.rmtree(album)
    assert clipcore("index", album, *MODEL).err.startswith("There is no folder")
    album.mkdir()
    ended = clipcore("index", album, *MODEL)
    assert ended.code == 3
    assert "24 are indexed below it" in ended.err and f"`clipcore index {album.resolve()} --forget`" in ended.err
    album.rmdir()
    assert clipcore("index", album, "--forget").out == "24 files forgotten.\n"
    assert everything(index) == ([], [], [])
    assert clipcore("index", album, "--forget").code == 1


def test_what_is_said_of_one_folder_is_not_said_of_the_next(album, index, tmp_path):
    emptied = tmp_path / "emptied"
    paint(emptied / "a.png").with_suffix(".psd").touch()
    clipcore("index", emptied, *MODEL)
    (emptied / "a.png").unlink()
    ended = clipcore("index", emptied, album, *MODEL)
    assert (ended.code, ended.err.count("\n"), ended.err.count(str(album.resolve()))) == (3, 2, 0)


def test_hidden_and_excluded(album, index):
    (album / ".hidden").mkdir()
    paint(album / ".hidden" / "a.png")
    answer = clipcore("index", album, *MODEL, "--hidden", "--exclude", "p*", "--exclude", "rocket.png", "--json").json()
    left_out = [path for path in album.iterdir() if path.name.startswith("p") or path.name == "rocket.png"]
    assert answer["folders"][0]["images"] == 24 + 1 - len(left_out)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Enough images that a run can be ended in the middle, some of them twice and some broken."""
    folder = tmp_path_factory.mktemp("crowd") / "album"
    for number in range(IMAGES):
        seed = number if number % 7 else 0
        data = b"no image" if number % 50 == 1 else encode(Image.fromarray(noise(64, 64, seed)))
        write(folder / f"{number % 5}" / f"{number:03}.png", data)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(crowd):
    file = crowd.parent / "uninterrupted.sqlite3"
    assert clipcore("index", crowd, "--index-file", file, *MODEL, "--batch-size", "1").code == 3
    return everything(file)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_a_run_the_same_command_goes_on_to_the_same_result(crowd, uninterrupted, tmp_path, end):
    file = tmp_path / "index.sqlite3"
    command = ("index", crowd, "--index-file", file, *MODEL, "--batch-size", "1")
    process = start_clipcore(*command)
    _wait_for_rows(file, 5, process)
    process.send_signal(end)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL)
    assert out == ""
    if end == signal.SIGINT:
        assert err.endswith("Stopped. The same command resumes from here.\n")
        assert "Traceback" not in err
    done = _rows(file)
    assert 5 <= done < IMAGES, "it was not ended in the middle"
    answer = clipcore(*command, "--json").json()
    assert answer["files"]["unchanged"] + answer["files"]["broken"] >= done, "what was committed was done again"
    assert everything(file) == uninterrupted


def _wait_for_rows(file, wanted, process):
    deadline = time.monotonic() + 60
    while _rows(file) < wanted:
        assert time.monotonic() < deadline, "no row appeared"
        with suppress(subprocess.TimeoutExpired):  # looking all the time would take the processor from it
            process.wait(0.02)
            pytest.fail(f"it ended: {process.communicate()}")


def _rows(file):
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM files").fetchone()[0]
    return 0


def test_a_folder_that_is_none_is_one_line(index, tmp_path):
    assert clipcore("index", "~nobody-here", *MODEL).err == "There is no folder '~nobody-here'; give one that exists.\n"
    ended = clipcore("index", tmp_path / "nowhere", *MODEL)
    assert (ended.code, ended.err) == (
        1,
        f"There is no folder {os.fspath(tmp_path / 'nowhere')!r}; give one that exists.\n",
    )
