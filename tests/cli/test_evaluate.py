from __future__ import annotations

import shutil

import pytest
from PIL import Image

from tests.cli.measured import BUNDLED, SAMPLES, row, sample_rows, samples, write_classes, write_table
from tests.cli.run import clipcore


def test_the_bundled_model_classifies_its_samples(tmp_path):
    """24 classes, one image each; words are the folders' names."""
    ended = clipcore("evaluate", "zero-shot", write_classes(tmp_path / "scenes"), "--json", *BUNDLED)
    assert (ended.code, ended.err) == (0, "")
    told = ended.json()
    assert (told["images"], told["top_1"], told["top_5"], told["mean_per_class_recall"]) == (24, 1, 1, 1)
    assert len(told["per_class"]) == 24
    assert told["confusions"] == []
    assert told["published"] == []


def test_a_table_of_classes_is_measured_like_folders(tmp_path):
    folders = clipcore("evaluate", "zero-shot", write_classes(tmp_path / "scenes"), "--json", *BUNDLED).json()
    table = clipcore(
        "evaluate", "zero-shot", write_table(tmp_path / "scenes.tsv", sample_rows("en")), "--json", *BUNDLED
    ).json()
    assert table == folders


def test_mistakes_are_counted_shown_and_drawn(tmp_path):
    classes = write_classes(tmp_path / "scenes", 6)
    shutil.copy(SAMPLES / "rocket.png", classes / samples()[0]["en"])
    image = tmp_path / "confusion.png"
    ended = clipcore("evaluate", "zero-shot", classes, "--confusion", image, *BUNDLED)
    assert ended.code == 0
    assert "85.7 %" in ended.out
    assert "Most frequent mistakes" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    with Image.open(image) as image:
        assert min(image.size) > 300
    told = clipcore("evaluate", "zero-shot", classes, "--json", *BUNDLED).json()
    assert told["top_1"] == pytest.approx(6 / 7)
    assert told["mean_per_class_recall"] == pytest.approx(5.5 / 6)
    assert told["confusions"] == [{"class": "a cat on a sofa", "taken_for": "a rocket", "images": 1}]


def test_class_names_come_from_a_file(tmp_path):
    classes = write_classes(tmp_path / "scenes", 8, called="file")
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{one['file']}: {one['zh']}\n" for one in samples()), encoding="utf-8")
    told = clipcore("evaluate", "zero-shot", classes, "--names", names, "--json", *BUNDLED).json()
    assert told["top_1"] == 1
    assert [one["class"] for one in told["per_class"]][:1] == ["生日蛋糕和气球"]


def test_a_class_without_a_name_is_refused_before_a_model_is_loaded(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("panda\n", encoding="utf-8")
    classes = write_classes(tmp_path / "scenes", 3)
    ended = clipcore("evaluate", "zero-shot", classes, "--names", names, "--model", "no/such-model")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "no line for the class" in ended.err


def test_templates_are_part_of_the_result(tmp_path):
    templates = tmp_path / "templates.txt"
    templates.write_text("{}\na photo of {}\n", encoding="utf-8")
    classes = write_classes(tmp_path / "scenes", 3)
    told = clipcore("evaluate", "zero-shot", classes, "--templates", templates, "--json", *BUNDLED).json()
    assert told["templates"] == ["{}", "a photo of {}"]


def test_broken_images_and_rows_are_reported_and_left_out(tmp_path):
    rows = sample_rows("en")[:3]
    broken = row("a panda", (SAMPLES / "panda.png").read_bytes()[:300])
    table = write_table(tmp_path / "classes.tsv", [rows[0], "no image here", rows[1], broken, rows[2]])
    ended = clipcore("evaluate", "zero-shot", table, "--json", *BUNDLED)
    assert ended.code == 3
    assert ended.json()["images"] == 3
    assert [one["name"].split()[-1] for one in ended.json()["skipped"]] == ["2", "4"]
    panda = next(one for one in ended.json()["per_class"] if one["class"] == "a panda")
    assert (panda["images"], panda["recall"]) == (0, None)


def test_an_empty_folder_is_a_class_that_competes_but_is_not_measured(tmp_path):
    classes = write_classes(tmp_path / "scenes", 2)
    (classes / "a rocket").mkdir()
    told = clipcore("evaluate", "zero-shot", classes, "--json", *BUNDLED).json()
    assert [one["recall"] for one in told["per_class"]] == [1, 1, None]
    assert told["mean_per_class_recall"] == 1


def test_one_class_alone_is_measured_too(tmp_path):
    told = clipcore("evaluate", "zero-shot", write_classes(tmp_path / "scenes", 1), "--json", *BUNDLED).json()
    assert (told["top_1"], told["top_5"]) == (1, None)


def test_only_unreadable_images_are_an_error(tmp_path):
    folder = tmp_path / "scenes" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"no image")
    ended = clipcore("evaluate", "zero-shot", folder.parent, *BUNDLED)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("None of the images could be read")


@pytest.mark.parametrize("command", [("zero-shot",), ("retrieval",)])
def test_an_unknown_data_set_is_refused(tmp_path, command):
    ended = clipcore("evaluate", *command, write_classes(tmp_path / "s", 1), "--dataset", "holidays", *BUNDLED)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "holidays" in ended.err
    assert "coco-cn, flickr30k, flickr30k-cn" in ended.err


def test_an_unusable_confusion_image_is_refused_before_encoding(tmp_path):
    classes = write_classes(tmp_path / "s", 1)
    ended = clipcore("evaluate", "zero-shot", classes, "--confusion", tmp_path / "c.xyz", "--model", "no/such-model")
    assert ended.code == 1
    assert "c.png" in ended.err


def test_published_figures_are_shown_for_a_known_data_set(tmp_path):
    classes = write_classes(tmp_path / "imagenet" / "val", 6)
    ended = clipcore("evaluate", "zero-shot", classes, *BUNDLED)
    assert "63.2" in ended.out
    assert "[1] Radford et al. 2021" in ended.out
    assert "[2] the same weights as OpenCLIP" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    told = clipcore("evaluate", "zero-shot", classes, "--json", *BUNDLED).json()["published"]
    assert {
        "model": "CLIP ViT-B/32",
        "percent": {"top-1": 63.2},
        "source": "Radford et al. 2021 (CLIP), as others quote it",
    } in told
