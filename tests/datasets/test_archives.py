"""Tars as webdataset has them, and Chinese-CLIP's tables with their .jsonl."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest

from clipcore.datasets import Pairs, open_pairs
from clipcore.errors import BadInput
from tests.datasets.tables import BLUE, GREEN, RED, row, write_lines


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def told(pairs: Pairs) -> list[tuple[str, bytes]]:
    read = [image.read() for image in pairs.images]
    return [(caption, read[at]) for at, caption in zip(pairs.image_of, pairs.captions, strict=True)]


def test_a_tar_of_images_and_captions(tmp_path: Path):
    files = {
        "a/001.png": RED,
        "a/001.json": json.dumps({"caption": "一只\n红猫", "width": 3}).encode(),
        "a/002.txt": b"blue\n\nanother blue\n",
        "a/002.json": json.dumps({"caption": "not heard"}).encode(),
        "a/002.png": BLUE,
        "b/001.png": GREEN,
        "b/003.txt": b"nothing to see",
        "b/004.json": b"{",
        "b/004.png": RED,
        "b/005.cls": b"3",
        "b/006.seg.png": RED,  # all behind the first dot is the ending
        "b/006.txt": b"six",
    }
    pairs = open_pairs(write_tar(tmp_path / "a.tar", files))
    assert told(pairs) == [("一只 红猫", RED), ("blue", BLUE), ("another blue", BLUE), ("six", RED)]
    assert [problem.name for problem in pairs.problems] == ["b/001.png", "b/003", "b/004.png"]


def test_a_file_that_is_not_a_tar_of_pairs_is_refused(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(BadInput, match="as an uncompressed tar"):
        open_pairs(tmp_path / "a.tar")
    with pytest.raises(BadInput, match="as an uncompressed tar"):
        open_pairs(write_tar(tmp_path / "b.tar", {"a.png": RED, "a.txt": b"red"}, "w:gz"))
    with pytest.raises(BadInput, match="no images with captions"):
        open_pairs(write_tar(tmp_path / "c.tar", {"a.png": RED, "b.txt": b"red"}))


@pytest.mark.parametrize("size", [8 * 2**30, 2**40, 2**62, 2**70])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
@pytest.mark.parametrize("name", ["b.txt", "b.json", "b.png"])
def test_a_member_larger_than_its_tar_is_refused_before_room_is_made_for_it(tmp_path: Path, size, kind, name):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    files = {"a.png": RED, "a.txt": b"red"}
    whole = write_tar(tmp_path / "a.tar", files).read_bytes().rstrip(b"\0")
    end = -(-len(whole) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    (tmp_path / "a.tar").write_bytes(whole.ljust(end, b"\0") + member.tobuf(tarfile.GNU_FORMAT) + b"said".ljust(1024))
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match="as an uncompressed tar"):
            open_pairs(tmp_path / "a.tar")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_chinese_clips_texts_refer_to_images_by_id(tmp_path: Path):
    table = write_lines(tmp_path / "valid_imgs.tsv", row("7", RED), row("8", BLUE), row("9", RED), "10\t!")
    lines = [
        {"text_id": 1, "text": "红色", "image_ids": [7, 9]},
        {"text_id": 2, "text": "蓝色", "image_ids": [8]},
        {"text_id": 3, "text": "gone", "image_ids": [10]},
        {"text_id": 4, "image_ids": [8]},
        {"text_id": 5, "text": " ", "image_ids": [8]},
    ]
    captions = write_lines(
        tmp_path / "valid_texts.jsonl", *(json.dumps(line, ensure_ascii=False) for line in lines), ""
    )
    pairs = open_pairs(table, captions=captions)
    assert list(zip(pairs.captions, pairs.image_of.tolist(), strict=True)) == [("红色", 0), ("红色", 2), ("蓝色", 1)]
    assert pairs.text_of is not None
    assert pairs.text_of.tolist() == [1, 1, 2]
    assert [image.read() for image in pairs.images] == [RED, BLUE, RED]
    assert [problem.name for problem in pairs.problems] == [
        "row 4",
        "valid_texts.jsonl, row 3",
        "valid_texts.jsonl, row 4",
        "valid_texts.jsonl, row 5",
    ]


def test_texts_of_other_images_are_refused(tmp_path: Path):
    table = write_lines(tmp_path / "imgs.tsv", row("7", RED))
    captions = write_lines(tmp_path / "texts.jsonl", '{"text": "a", "image_ids": [1]}')
    with pytest.raises(BadInput, match="describes an image"):
        open_pairs(table, captions=captions)
    with pytest.raises(BadInput, match="a captions file goes with a folder"):
        open_pairs(table, captions=table)
