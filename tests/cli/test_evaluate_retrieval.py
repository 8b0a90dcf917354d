from __future__ import annotations

import json
import shutil

import pytest

from tests.cli.measured import BUNDLED, SAMPLES, row, sample_rows, samples, write_table
from tests.cli.run import clipcore


def test_easynlps_table_is_measured_both_ways(tmp_path):
    """One caption and one image a row."""
    ended = clipcore(
        "evaluate", "retrieval", write_table(tmp_path / "pairs.tsv", sample_rows("en")), "--json", *BUNDLED
    )
    assert (ended.code, ended.err) == (0, "")
    told = ended.json()
    assert told["images"] == 24
    for direction in ("image_to_text", "text_to_image"):
        assert told[direction]["queries"] == 24
        assert told[direction]["recall_at_1"] == 1
    assert told["mean_recall"] == 1


def test_several_captions_of_one_image_come_from_captions_json(tmp_path):
    for sample in samples():
        shutil.copy(SAMPLES / sample["file"], tmp_path)
    images = [{"id": number, "file_name": sample["file"]} for number, sample in enumerate(samples())]
    annotations = [
        {"id": 2 * number + place, "image_id": number, "caption": sample[called]}
        for number, sample in enumerate(samples())
        for place, called in enumerate(("en", "zh"))
    ]
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    told = clipcore("evaluate", "retrieval", captions, "--json", *BUNDLED).json()
    assert (told["image_to_text"]["queries"], told["text_to_image"]["queries"]) == (24, 48)
    assert told["mean_recall"] == 1


def test_a_wrong_caption_costs_what_it_should(tmp_path):
    """Two images have each other's caption: neither is found, at first, in either direction."""
    rows = sample_rows("en")
    first, second = (one.split("\t") for one in rows[:2])
    rows[:2] = [f"{second[0]}\t{first[1]}", f"{first[0]}\t{second[1]}"]
    told = clipcore("evaluate", "retrieval", write_table(tmp_path / "pairs.tsv", rows), "--json", *BUNDLED).json()
    assert told["image_to_text"]["recall_at_1"] == pytest.approx(22 / 24)
    assert told["text_to_image"]["recall_at_1"] == pytest.approx(22 / 24)


def test_people_see_both_directions_and_the_published_figures(tmp_path):
    table = write_table(tmp_path / "flickr30k_test.tsv", sample_rows("en", "zh"))
    ended = clipcore("evaluate", "retrieval", table, *BUNDLED)
    assert "24 images, 48 captions" in ended.out
    assert "image → text" in ended.out
    assert "88.0" in ended.out
    assert "table 13" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_easynlps_published_figures_are_shown_for_its_table(tmp_path):
    table = write_table(tmp_path / "MUGE_MR_valid_base64_part.tsv", sample_rows("zh"))
    [published] = clipcore("evaluate", "retrieval", table, "--json", *BUNDLED).json()["published"]
    assert list(published["percent"].values()) == [28.6, 59.0, 72.0]
    shown = clipcore("evaluate", "retrieval", table, *BUNDLED).out
    assert "28.6" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_unreadable_rows_and_images_are_left_out(tmp_path):
    rows = sample_rows("en")[:4]
    broken = row("a broken panda", (SAMPLES / "panda.png").read_bytes()[:300])
    table = write_table(tmp_path / "pairs.tsv", [*rows[:2], "only text", broken, *rows[2:]])
    ended = clipcore("evaluate", "retrieval", table, "--json", *BUNDLED)
    assert ended.code == 3
    told = ended.json()
    assert (told["images"], told["text_to_image"]["queries"]) == (4, 4)
    assert [one["name"].split()[-1] for one in told["skipped"]] == ["3", "4"]


def test_captions_are_put_into_the_template(tmp_path):
    table = write_table(tmp_path / "pairs.tsv", sample_rows("en"))
    told = clipcore("evaluate", "retrieval", table, "--template", "a photo of {}", "--json", *BUNDLED).json()
    assert told["template"] == "a photo of {}"
    misleading = clipcore("evaluate", "retrieval", table, "--template", "rocket rocket {} rocket", "--json", *BUNDLED)
    assert misleading.json()["mean_recall"] < told["mean_recall"]
    ended = clipcore("evaluate", "retrieval", table, "--template", "a photo", *BUNDLED)
    assert (ended.code, ended.err.count("\n")) == (1, 1)


def test_a_missing_table_is_one_line():
    ended = clipcore("evaluate", "retrieval", "none.tsv", *BUNDLED)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "none.tsv" in ended.err
