from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipcore.errors import BadInput
from clipcore.linear_probe import LinearProbe
from tests.cli.measured import BUNDLED, SAMPLES
from tests.cli.run import clipcore

NAMES = ("panda", "rocket", "sunflower")


@pytest.fixture
def folders(tmp_path):
    """TRAIN has each sample upright, dimmed and small; TEST has it mirrored."""
    for name in NAMES:
        for part in ("train", "test"):
            (tmp_path / part / name).mkdir(parents=True)
        with Image.open(SAMPLES / f"{name}.png") as opened:
            image = opened.convert("RGB")
        image.save(tmp_path / "train" / name / "upright.png")
        image.point(lambda value: value * 3 // 4).save(tmp_path / "train" / name / "dim.png")
        image.resize((80, 80)).save(tmp_path / "train" / name / "small.png")
        ImageOps.mirror(image).save(tmp_path / "test" / name / "mirrored.png")
    return tmp_path / "train", tmp_path / "test"


def test_a_probe_learns_from_some_images_and_is_measured_on_others(folders, tmp_path):
    ended = clipcore("evaluate", "probe", *folders, "--json", *BUNDLED)
    assert (ended.code, ended.err) == (0, "")
    told = ended.json()
    assert (told["train_images"], told["images"], told["top_1"]) == (9, 3, 1)
    tried = {one["strength"]: one["accuracy"] for one in told["search"]}
    assert tried[told["strength"]] == max(tried.values())


def test_a_probe_can_be_saved_and_classifies(folders, tmp_path):
    kept = tmp_path / "probe.safetensors"
    ended = clipcore("evaluate", "probe", *folders, "-C", "100", "--save", kept, *BUNDLED)
    assert "C = 100" in ended.out
    told = clipcore("classify", SAMPLES / "rocket.png", "--probe", kept, "--json", *BUNDLED).json()
    assert told["images"][0]["labels"][0]["label"] == "rocket"
    with pytest.raises(BadInput, match="trained on the model 'bundled@"):
        LinearProbe.load(kept, "another")


def test_a_class_that_only_the_test_has_is_never_predicted(folders):
    train, test = folders
    (test / "octopus").mkdir()
    shutil.copy(SAMPLES / "octopus.png", test / "octopus")
    told = clipcore("evaluate", "probe", train, test, "-C", "100", "--json", *BUNDLED).json()
    recall = {one["class"]: one["recall"] for one in told["per_class"]}
    assert recall == {"octopus": 0, "panda": 1, "rocket": 1, "sunflower": 1}
    assert told["top_1"] == 0.75


def test_broken_images_of_both_parts_are_reported(folders):
    train, test = folders
    for folder in folders:
        for name in ("0.png", "1.png", "2.png"):
            (folder / "panda" / name).write_bytes(b"no image")
    ended = clipcore("evaluate", "probe", train, test, "-C", "100", "--json", *BUNDLED)
    assert ended.code == 3
    assert (ended.json()["train_images"], ended.json()["images"]) == (9, 3)
    assert len(ended.json()["skipped"]) == 6
    assert ended.json()["top_1"] == 1


def test_a_single_class_is_refused(folders):
    train, test = folders
    for name in NAMES[1:]:
        shutil.rmtree(train / name)
    ended = clipcore("evaluate", "probe", train, test, *BUNDLED)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "two classes" in ended.err


def test_an_unwritable_probe_file_is_refused_before_any_work(folders, tmp_path):
    ended = clipcore("evaluate", "probe", *folders, "--save", tmp_path / "none" / "a", "--model", tmp_path / "no-model")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "no folder" in ended.err
    assert "no-model" not in ended.err


def test_a_probe_is_deterministic(folders):
    first, second = (clipcore("evaluate", "probe", *folders, "--json", *BUNDLED).json() for _ in range(2))
    assert np.isclose(first["strength"], second["strength"])
    assert first == second


def test_a_class_that_train_lacks_is_reported_and_counts_as_wrong(folders):
    train, _ = folders
    shutil.rmtree(train / "panda")
    ended = clipcore("evaluate", "probe", *folders, "-C", "100", "--json", *BUNDLED)
    assert ended.code == 0
    assert ended.err == "TRAIN has no images of 1 of TEST's classes, whose images all count as wrong: 'panda'\n"
    told = ended.json()
    assert (told["not_in_train"], told["top_1"]) == (["panda"], pytest.approx(2 / 3))


def test_no_class_in_common_is_refused_before_any_model_is_loaded(folders, tmp_path):
    _, test = folders
    for name in NAMES:
        (test / name).rename(test / name.upper())
    ended = clipcore("evaluate", "probe", *folders, "--model", tmp_path / "no-model")
    assert (ended.code, ended.err.count("\n"), "no class in common" in ended.err) == (1, 1, True)
