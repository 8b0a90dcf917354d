from __future__ import annotations

from pathlib import Path

import pytest

from clipcore.evaluation.published import TO_IMAGE, TO_TEXT, TOP_1, dataset_of, known_as, known_datasets, published_on


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("flickr30k", "flickr30k"),
        ("Flickr30k_1K_test", "flickr30k"),
        ("Flickr30K-CN", "flickr30k-cn"),
        ("COCO", "coco"),
        ("dataset_coco", "coco"),
        ("mscoco-5k-test", "coco"),
        ("coco_cn_test", "coco-cn"),
        ("ILSVRC2012_val", "imagenet"),
        ("MUGE_valid", "muge"),
        ("MUGE_MR_valid_base64_part", "muge-part"),
    ],
)
def test_a_data_set_is_known_by_the_names_that_people_give_it(name, dataset):
    assert known_as(name) == dataset
    assert published_on(dataset)


@pytest.mark.parametrize(
    "name", ["imagenet-a", "imagenetv2", "ImageNet-R", "flickr8k", "cocoa", "test", "", "holidays"]
)
def test_a_similar_name_is_another_data_set(name):
    assert known_as(name) is None


def test_a_file_is_judged_by_its_name_and_a_folder_by_its_own_or_its_parents(tmp_path: Path):
    table = tmp_path / "flickr30k_test.tsv"
    table.touch()
    folder = tmp_path / "imagenet" / "val"
    folder.mkdir(parents=True)
    assert dataset_of(table) == "flickr30k"
    assert dataset_of(folder) == "imagenet"
    assert dataset_of(tmp_path) is None


def test_every_figure_is_a_percentage_with_a_known_name_and_a_source():
    assert [known_as(dataset) for dataset in known_datasets()] == list(known_datasets())
    everything = [one for dataset in known_datasets() for one in published_on(dataset)]
    assert len(everything) == 2 + 9 + 2 + 15 + 1
    for one in everything:
        assert one.source
        assert one.figures
        assert all(0 < figure <= 100 for figure in one.figures.values())
        assert set(one.figures) <= {TOP_1, "top-5", *TO_TEXT, *TO_IMAGE}


def test_recalls_rise_with_their_cutoff():
    """A figure typed into the wrong place would most likely break this."""
    for dataset in ("flickr30k", "coco", "flickr30k-cn", "coco-cn", "muge", "muge-part"):
        for one in published_on(dataset):
            for names in (TO_TEXT, TO_IMAGE):
                found = [one.figures[name] for name in names if name in one.figures]
                assert found == sorted(found)
                assert len(found) in (0, 3)


def test_mean_recalls_are_those_that_the_sources_print():
    """Chinese-CLIP prints MUGE's mean recalls beside the three; EasyNLP prints 53.2."""
    printed = {"RN50": 63.0, "ViT-B/16": 71.1, "ViT-L/14": 74.1, "ViT-L/14@336px": 76.1, "ViT-H/14": 78.8}
    means = {one.model.removeprefix("Chinese-CLIP "): sum(one.figures.values()) / 3 for one in published_on("muge")}
    assert means == pytest.approx(printed, abs=0.06)
    [easynlp] = published_on("muge-part")
    assert sum(easynlp.figures.values()) / 3 == pytest.approx(53.2)
