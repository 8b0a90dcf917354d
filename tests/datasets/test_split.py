from __future__ import annotations

import errno
import json
import os
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipcore.datasets.split import PARTS, How, divide, letterboxed, parse_ratios, plan_split, split_folder
from clipcore.errors import BadInput
from tests.clipcore.images import encode, png
from tests.datasets.stopping import Stop, stopping_after
from tests.datasets.tables import GREEN, RED, write_files

SHARES = st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(lambda shares: shares[0] > 0)
RATIOS = SHARES.map(lambda shares: [Fraction(share, sum(shares)) for share in shares])
NAMES = st.dictionaries(
    st.sampled_from(["cat", "dog", "猫"]), st.sets(st.text("abcdef", min_size=1, max_size=4), max_size=25), max_size=3
).map(lambda classes: {name: [f"{name}/{one}" for one in members] for name, members in classes.items()})


@given(NAMES, RATIOS, st.integers())
def test_a_split_is_a_partition_whatever_the_order(names: dict[str, list[str]], ratios: list[Fraction], seed: int):
    plan = plan_split(names, ratios, seed)
    assert sorted(plan) == sorted(name for members in names.values() for name in members)
    assert set(plan.values()) <= set(PARTS)
    shuffled = {name: random.Random(seed).sample(names[name], len(names[name])) for name in reversed(names)}
    assert plan_split(shuffled, ratios, seed) == plan


@given(NAMES, RATIOS)
def test_every_class_is_in_train_and_other_classes_do_not_matter(names: dict[str, list[str]], ratios: list[Fraction]):
    plan = plan_split(names, ratios, 0)
    for name, members in names.items():
        assert not members or any(plan[member] == "train" for member in members)
        alone = plan_split({name: members}, ratios, 0)
        assert alone == {member: plan[member] for member in members}


@given(st.integers(0, 1000), RATIOS, st.booleans())
def test_shares_are_less_than_one_off_their_quota(count: int, ratios: list[Fraction], prefer_last: bool):
    sizes = divide(count, ratios, prefer_last=prefer_last)
    assert sum(sizes) == count
    assert min(sizes) >= 0
    off = [abs(size - count * share) for size, share in zip(sizes, ratios, strict=True)]
    # A class too small for its quota of train still gets one image there.
    assert max(off) < 1 or (sizes[0] == 1 and count * ratios[0] < 1)


@pytest.mark.parametrize(
    ("count", "ratios", "sizes"),
    [
        (10, "0.7,0.2,0.1", [7, 2, 1]),  # 0.7 x 10 is 7.000000000000001 in floats, 0.1 x 3 is 0.30000000000000004
        (30, "0.7:0.2:0.1", [21, 6, 3]),
        (10, "0.8:0.15:0.05", [8, 2, 0]),  # a tie, which 0.15 and 0.05 as floats would break otherwise
        (10, "9:1", [9, 1, 0]),
        (1, "1:8:1", [1, 0, 0]),
        (2, "1:8:1", [1, 1, 0]),
        (3, "8:1:1", [3, 0, 0]),
        (5, "8:1:1", [4, 1, 0]),
        (0, "8:1:1", [0, 0, 0]),
    ],
)
def test_shares_by_hand(count: int, ratios: str, sizes: list[int]):
    assert divide(count, parse_ratios(ratios)) == sizes


def test_ties_may_go_to_the_later_part():
    assert divide(5, parse_ratios("8:1:1"), prefer_last=True) == [4, 0, 1]
    assert divide(10, parse_ratios("8:1:1"), prefer_last=True) == [8, 1, 1]


def test_many_small_classes_fill_val_and_test_alike():
    names = {f"class {n}": [f"class {n}/{image}.png" for image in range(5)] for n in range(100)}
    plan = plan_split(names, parse_ratios("8:1:1"), seed=0)
    sizes = [list(plan.values()).count(part) for part in PARTS]
    assert sizes[0] == 400
    assert min(sizes[1:]) > 30


@pytest.mark.parametrize("told", ["", "a:b", "1", "1:2:3:4", "0:1:1", "8:-1:1", "1:1/0"])
def test_invalid_ratios_are_refused(told: str):
    with pytest.raises(BadInput, match="ratios"):
        parse_ratios(told)


RATIOS_6_2_2 = parse_ratios("6:2:2")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    files = {f"{name}/{n}.png": png(width=n + 1) for name in ("cat", "dog") for n in range(10)}
    return write_files(tmp_path / "in", files | {"cat/notes.txt": b"no image"})


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def without_part(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.split("/", 1)[1]: data for name, data in files.items()}


@pytest.mark.parametrize("how", list(How))
def test_images_are_copied_linked_or_moved(classes: Path, tmp_path: Path, how: How):
    before = files_in(classes)
    result = split_folder(classes, tmp_path / "out", RATIOS_6_2_2, how=how)
    assert result.counts == {name: {"train": 6, "val": 2, "test": 2} for name in ("cat", "dog")}
    assert result.problems == []
    after = files_in(tmp_path / "out")
    assert (without_part(after), len(after)) == (before, 20)
    assert files_in(classes) == ({} if how is How.MOVE else before)
    if how is not How.MOVE:
        put = next((tmp_path / "out").rglob("cat/1.png"))
        assert put.samefile(classes / "cat/1.png") == (how is How.LINK)


def test_an_image_that_is_a_link_is_moved_to_another_file_system_as_an_image(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    picture = tmp_path / "elsewhere.png"
    picture.write_bytes(png())
    for file in classes.rglob("*.png"):
        file.unlink()
        file.symlink_to(os.path.relpath(picture, file.parent))

    def refuse(self: Path, target: Path):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    assert split_folder(classes, tmp_path / "out", RATIOS_6_2_2, how=How.MOVE).problems == []
    moved = list((tmp_path / "out").rglob("*.png"))
    assert len(moved) == 20
    assert {file.read_bytes() for file in moved} == {png()}
    assert not any(file.is_symlink() for file in moved)


def test_the_seed_alone_decides(classes: Path, tmp_path: Path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        split_folder(classes, tmp_path / name, RATIOS_6_2_2, seed=seed)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "same")
    assert files_in(tmp_path / "one").keys() != files_in(tmp_path / "other").keys()


@pytest.mark.parametrize("how", list(How))
def test_an_interrupted_split_resumes_to_the_same_result(classes: Path, tmp_path: Path, how: How):
    before = files_in(classes)
    split_folder(classes, tmp_path / "whole", RATIOS_6_2_2)
    with pytest.raises(Stop):
        split_folder(classes, tmp_path / "out", RATIOS_6_2_2, how=how, progress=lambda names: stopping_after(7, names))
    result = split_folder(classes, tmp_path / "out", RATIOS_6_2_2, how=how)
    assert result.done_before == 7
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    assert without_part(files_in(tmp_path / "out")) == before
    again = split_folder(classes, tmp_path / "out", RATIOS_6_2_2, how=how)
    assert (again.done_before, again.counts) == (20, result.counts)


def test_an_output_folder_with_other_files_is_refused(classes: Path, tmp_path: Path):
    split_folder(classes, tmp_path / "out", RATIOS_6_2_2)
    there = files_in(tmp_path / "out")
    for other in ({"seed": 5}, {"letterbox": 8}, {"how": How.LINK}):
        with pytest.raises(BadInput, match="name a new folder"):
            split_folder(classes, tmp_path / "out", RATIOS_6_2_2, **other)
    assert files_in(tmp_path / "out") == there
    with pytest.raises(BadInput, match="lies inside"):
        split_folder(classes, classes / "out", RATIOS_6_2_2)
    with pytest.raises(BadInput, match="neither links nor moved"):
        split_folder(classes, tmp_path / "new", RATIOS_6_2_2, how=How.MOVE, letterbox=8)
    with pytest.raises(BadInput, match="no images in folders"):
        split_folder(write_files(tmp_path / "flat", {"a.png": RED}), tmp_path / "new", RATIOS_6_2_2)
    with pytest.raises(BadInput, match="no folder"):
        split_folder(tmp_path / "nowhere", tmp_path / "new", RATIOS_6_2_2)


def test_an_image_that_was_added_or_removed_after_planning_is_reported(classes: Path, tmp_path: Path):
    with pytest.raises(Stop):
        split_folder(classes, tmp_path / "out", RATIOS_6_2_2, progress=lambda names: stopping_after(0, names))
    write_files(classes, {"cat/late.png": RED})
    (classes / "cat" / "1.png").unlink()
    result = split_folder(classes, tmp_path / "out", RATIOS_6_2_2)
    assert [problem.name for problem in result.problems] == ["cat/late.png", "cat/1.png"]
    assert sum(result.counts["cat"].values()) == 9


def test_letterboxed_images_are_squares_and_broken_ones_are_named(tmp_path: Path):
    files = {"a/wide.jpg": encode(Image.new("RGB", (80, 40), "white"), "JPEG"), "a/wide.png": GREEN, "a/no.png": b"no"}
    source = write_files(tmp_path / "in", files)
    result = split_folder(source, tmp_path / "out", parse_ratios("1:0"), letterbox=16)
    assert [problem.name for problem in result.problems] == ["a/no.png"]
    assert sorted(files_in(tmp_path / "out")) == ["train/a/wide.png", "train/a/wide.png.png"]
    with Image.open(tmp_path / "out/train/a/wide.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (16, 16, 3)
    assert (pixels[:4].max(), pixels[4:12].min(), pixels[12:].max()) == (0, 255, 0)


@pytest.mark.parametrize(("width", "height"), [(1, 500), (500, 1), (3, 3), (640, 480)])
def test_a_letterbox_keeps_the_proportions(width: int, height: int):
    square = np.asarray(letterboxed(np.full((height, width, 3), 255, np.uint8), 64))
    lit = np.argwhere(square[..., 0] == 255)
    extent = lit.max(axis=0) - lit.min(axis=0) + 1
    assert square.shape == (64, 64, 3)
    assert extent.max() == 64
    assert extent[1] / extent[0] == pytest.approx(width / height, rel=0.05) or extent.min() == 1


def test_the_plan_stays_beside_the_parts(classes: Path, tmp_path: Path):
    split_folder(classes, tmp_path / "out", RATIOS_6_2_2, seed=3)
    plan = json.loads((tmp_path / "out" / "split.json").read_text(encoding="utf-8"))
    assert plan["job"]["seed"] == 3
    assert {f"{part}/{name}" for name, part in plan["parts"].items()} == set(files_in(tmp_path / "out"))
