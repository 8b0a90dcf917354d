from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clipcore.datasets import open_pairs
from tests.cli.run import clipcore, clipcore_until_ctrl_c
from tests.clipcore.images import png
from tests.datasets.tables import BLUE, GREEN, RED, row, write_files, write_lines


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return write_files(
        tmp_path / "in", {f"{name}/{n}.png": png(width=n + 1) for name in ("cat", "狗") for n in range(5)}
    )


def test_split_shows_the_number_of_images_in_each_part(classes: Path, tmp_path: Path):
    ended = clipcore("dataset", "split", classes, "-o", tmp_path / "out", "--ratios", "3:1:1")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[1::2] for line in ended.out.splitlines() if "all" in line] == [["all", "6", "2", "2"]]
    again = clipcore("dataset", "split", classes, "-o", tmp_path / "out", "--ratios", "3:1:1", "--json")
    assert again.json() == {
        "output": str(tmp_path / "out"),
        "classes": {name: {"train": 3, "val": 1, "test": 1} for name in ("cat", "狗")},
        "done_before": 10,
        "skipped": [],
    }


def test_split_refuses_in_one_line(classes: Path, tmp_path: Path):
    ended = clipcore("dataset", "split", classes, "-o", tmp_path / "out", "--ratios", "many")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert clipcore("dataset", "split", classes, "-o", tmp_path / "out", "--how", "burn").code == 2


def test_letterboxed_images_skip_the_broken(classes: Path, tmp_path: Path):
    write_files(classes, {"cat/broken.png": b"no"})
    ended = clipcore("dataset", "split", classes, "-o", tmp_path / "out", "--letterbox", "8", "--json")
    assert ended.code == 3
    assert [skipped["name"] for skipped in ended.json()["skipped"]] == ["cat/broken.png"]
    assert ended.err.startswith("skipped cat/broken.png: ")


def test_stats_of_a_folder_and_of_a_table_agree(classes: Path, tmp_path: Path):
    folder = clipcore("dataset", "stats", classes, "--json").json()
    assert (folder["mean"], folder["std"], folder["images"]) == ([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], 10)
    assert folder["widths"] == {"least": 1, "mean": 3.0, "most": 5}
    assert folder["classes"] == {"cat": 5, "狗": 5}
    clipcore("dataset", "to-tsv", classes, "-o", tmp_path / "a.tsv")
    table = clipcore("dataset", "stats", tmp_path / "a.tsv", "--json").json()
    # The same images in both classes are counted once.
    assert (table["mean"], table["images"], table["captions"]) == (folder["mean"], 5, 10)


def test_stats_for_people(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("red", RED), row("broken", b"broken" * 9), "?")
    ended = clipcore("dataset", "stats", table, "--size", "8")
    assert ended.code == 3
    assert "mean      1.000000, 0.000000, 0.000000" in ended.out.splitlines()
    assert [line.split(":")[0] for line in ended.err.splitlines()] == ["skipped row 3", "skipped row 2"]
    assert max(map(len, ended.out.splitlines())) <= 80


def test_stats_of_broken_images_are_null(tmp_path: Path):
    ended = clipcore("dataset", "stats", write_files(tmp_path / "in", {"a.png": b"no"}), "--json")
    assert (ended.code, ended.json()["mean"], ended.json()["widths"]) == (3, None, None)


def test_there_and_back_again(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a.png": RED, "b.png": BLUE, "c.png": GREEN})
    write_lines(folder / "captions.txt", "image,caption", "a.png,一只猫", "b.png,blue", "a.png,red", "gone.png,?")
    there = clipcore("dataset", "to-tsv", folder, "-o", tmp_path / "a.tsv", "--json")
    assert (there.code, there.json()["rows"]) == (3, 3)
    assert [skipped["name"] for skipped in there.json()["skipped"]] == ["row 5"]
    back = clipcore("dataset", "from-tsv", tmp_path / "a.tsv", "-o", tmp_path / "out")
    assert (back.code, back.err) == (0, "")
    assert back.out == f"2 images and 3 captions in {tmp_path / 'out'}\n"
    pairs = open_pairs(tmp_path / "out")
    read = [(caption, pairs.images[at].read()) for at, caption in zip(pairs.image_of, pairs.captions, strict=True)]
    assert sorted(read) == sorted([("一只猫", RED), ("red", RED), ("blue", BLUE)])
    assert clipcore("dataset", "from-tsv", tmp_path / "a.tsv", "-o", tmp_path / "out").code == 1
    assert clipcore("dataset", "to-tsv", folder, "-o", tmp_path / "a.tsv").code == 1
    assert clipcore("dataset", "to-tsv", folder, "-o", tmp_path / "a.tsv", "--force").code == 3


@pytest.mark.parametrize("command", ["to-tsv", "from-tsv", "split"])
def test_an_unwritable_output_is_refused_in_one_line(classes: Path, tmp_path: Path, command: str):
    table = write_lines(tmp_path / "a.tsv", row("red", RED))
    source = table if command == "from-tsv" else classes
    ended = clipcore("dataset", command, source, "-o", table / "beneath a file")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "a.tsv" in ended.err


def test_a_full_disk_is_reported_in_one_line_and_a_bug_keeps_its_traceback(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("clipcore.cli.dataset.write_tsv", fail)
    number = errno.ENOSPC
    ended = clipcore("dataset", "to-tsv", classes, "-o", tmp_path / "a.tsv")
    assert (ended.code, ended.out, ended.err.count("\n"), "disk is full" in ended.err) == (1, "", 1, True)
    number = errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        clipcore("dataset", "to-tsv", classes, "-o", tmp_path / "a.tsv")


def test_columns_are_named(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", "id\tsaid\tshown", "7\tred\t" + row("", RED).strip())
    ended = clipcore(
        "dataset", "from-tsv", table, "-o", tmp_path / "out", "--text-column", "said", "--image-column", "shown"
    )
    assert (ended.code, ended.out.split(" in ")[0]) == (0, "1 images and 1 captions")


def test_columns_are_named_for_every_command_that_reads_a_table(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", "7\tred\t" + row("x", RED), "8\tblue\t" + row("x", BLUE))
    for command in (["stats"], ["to-tsv", "-o", tmp_path / "b.tsv"], ["from-tsv", "-o", tmp_path / "c"]):
        ended = clipcore("dataset", *command, table)
        assert (ended.code, ended.out, "--text-column" in ended.err) == (1, "", True)
        assert clipcore("dataset", *command, table, "--text-column", "2").code == 0
    assert open_pairs(tmp_path / "b.tsv").captions == ["red", "blue"]
    assert open_pairs(tmp_path / "c").captions == ["red", "blue"]
    classes = clipcore("dataset", "stats", table, "--text-column", "3", "--json").json()["classes"]
    assert classes == {"x": 2}


def test_ctrl_c_leaves_a_table_that_the_same_command_resumes(tmp_path: Path):
    folder = write_files(tmp_path / "in", {"a/0.png": RED, "a/1.png": BLUE, "a/2.png": GREEN, "b/3.png": RED})
    command = ["dataset", "to-tsv", folder, "-o", tmp_path / "out.tsv"]
    stopped = clipcore_until_ctrl_c("2.png", *command)
    assert (stopped.code, stopped.out, stopped.err) == (130, "", "Stopped. The same command resumes from here.\n")
    assert not (tmp_path / "out.tsv").exists()
    ended = clipcore(*command, "--json")
    assert (ended.code, ended.json()["rows"], ended.json()["resumed_at"]) == (0, 4, 2)
    clipcore("dataset", "to-tsv", folder, "-o", tmp_path / "whole.tsv")
    assert (tmp_path / "out.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_images_outside_the_classes_are_reported(classes: Path, tmp_path: Path):
    write_files(classes, {"loose.png": RED, "another.PNG": BLUE, ".hidden.png": RED, "notes.txt": b""})
    for command in ("to-tsv", "split"):
        ended = clipcore("dataset", command, classes, "-o", tmp_path / command)
        told = f"skipped {classes}: Images outside the folders of classes are skipped: 2.\n"
        assert (ended.code, ended.err) == (3, told)
    assert clipcore("dataset", "stats", classes, "--json").json()["in_no_class"] == 2
    assert clipcore("dataset", "stats", classes).out.splitlines()[-1] == "in none   2"
    (classes / "loose.png").unlink()
    (classes / "another.PNG").unlink()
    assert clipcore("dataset", "to-tsv", classes, "-o", tmp_path / "none").code == 0
