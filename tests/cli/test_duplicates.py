from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from clipcore.models.known_models import BUNDLED_DIRECTORY
from tests.cli.run import clipcore, start_clipcore
from tests.folder_search.support import write


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCORE_INDEX", str(tmp_path / "index.sqlite3"))
    monkeypatch.setenv("CLIPCORE_MODEL", "bundled")
    folder = tmp_path / "album"
    shutil.copytree(BUNDLED_DIRECTORY / "samples", folder)
    shutil.copy(folder / "rocket.png", folder / "rocket copy.png")
    with Image.open(folder / "panda.png") as panda:
        panda.resize((128, 128)).save(folder / "small.png")
    return folder


def test_groups_of_look_alikes_and_of_copies(album):
    ended = clipcore("duplicates", album)
    assert ended.code == 0
    lines = [line.split("\t") for line in ended.out.splitlines()]
    assert [(line[0], line[1], Path(line[4]).name) for line in lines] == [
        ("1", "first", "rocket copy.png"),
        ("1", "identical", "rocket.png"),
        ("2", "first", "panda.png"),
        ("2", "alike", "small.png"),
    ]
    assert {path.name for path in album.iterdir()} >= {"rocket copy.png", "rocket.png", "panda.png", "small.png"}


def test_each_file_of_a_mixed_group_says_what_it_is_beside_the_first(album):
    shutil.copy(album / "panda.png", album / "panda copy.png")
    lines = [line.split("\t") for line in clipcore("duplicates", album).out.splitlines()]
    assert {Path(line[4]).name: line[1] for line in lines if "rocket" not in line[4]} == {
        "panda copy.png": "first",
        "panda.png": "identical",
        "small.png": "alike",
    }
    groups = clipcore("duplicates", album, "--json").json()["groups"]
    mixed = next(group for group in groups if group["kind"] == "alike")
    assert [file["is"] for file in mixed["files"]] == ["first", "identical", "alike"]


def test_no_duplicates_are_said_to_be_none(tmp_path, album):
    alone = shutil.copytree(album, tmp_path / "alone", ignore=lambda *_: ["rocket copy.png", "small.png"])
    ended = clipcore("duplicates", alone)
    assert (ended.code, ended.out, ended.err) == (0, "", "No duplicates among 24 images.\n")
    assert clipcore("duplicates", alone, "--exact").err == "No identical files.\n"


def test_json_has_the_sizes_that_a_decision_needs(album):
    answer = clipcore("duplicates", album, "--json").json()
    copies, alike = sorted(answer["groups"], key=lambda group: group["kind"], reverse=True)
    assert alike["kind"] == "alike"
    assert [(file["width"], file["height"]) for file in alike["files"]] == [(256, 256), (128, 128)]
    assert alike["files"][0]["cosine"] == pytest.approx(1)
    assert answer["threshold"] < alike["files"][1]["cosine"] < 1
    assert copies["spare_bytes"] == (album / "rocket.png").stat().st_size == copies["files"][0]["bytes"]
    assert len({file["sha256"] for file in copies["files"]}) == 1
    assert answer["spare_bytes"] == copies["spare_bytes"] + alike["spare_bytes"]


def test_exact_needs_no_index_and_no_model(album, tmp_path):
    answer = clipcore("duplicates", album, "--exact", "--model", "no-such-model", "--json").json()
    assert [group["kind"] for group in answer["groups"]] == ["identical"]
    assert (answer["threshold"], answer["groups"][0]["files"][0]["width"]) == (None, None)
    assert not (tmp_path / "index.sqlite3").exists()


def test_a_broken_image_is_named_and_the_rest_is_compared(album):
    write(album / "broken.png", b"x")
    ended = clipcore("duplicates", album)
    assert (ended.code, "broken.png: The bytes are no image" in ended.err) == (3, True)
    assert ended.out.count("\n") == 4


def test_without_indexing_the_index_is_trusted(album):
    assert clipcore("duplicates", album, "--no-index").out == ""
    clipcore("index", album)
    shutil.copy(album / "octopus.png", album / "octopus copy.png")
    assert "octopus" not in clipcore("duplicates", album, "--no-index").out
    assert "octopus" in clipcore("duplicates", album).out


def test_exclude_and_no_index_contradict_each_other(album):
    ended = clipcore("duplicates", album, "--no-index", "--exclude", "rocket*")
    assert (ended.code, ended.out) == (1, "")
    assert "leave out --hidden and --exclude" in ended.err
    assert "rocket" not in clipcore("duplicates", album, "--exclude", "rocket*").out


def test_a_pipe_gets_the_bytes_of_a_name(album):
    name = b"caf\xe9.png"
    shutil.copy(album / "rocket.png", album / os.fsdecode(name))
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    out, err = start_clipcore("duplicates", album, "--exact", text=False, env=strict).communicate(timeout=60)
    assert (out.count(b"/" + name + b"\n"), err) == (1, b"")


def test_a_lower_threshold_makes_larger_groups(album):
    strict = clipcore("duplicates", album, "--min-score", "1", "--json").json()
    loose = clipcore("duplicates", album, "--min-score", "0.3", "--json").json()
    assert [len(group["files"]) for group in strict["groups"]] == [2]
    assert sum(len(group["files"]) for group in loose["groups"]) > 4
