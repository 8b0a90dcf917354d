from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipcore.errors import BadInput
from clipcore.types import Label
from clipcore.zero_shot import check_template, read_labels, read_templates, split_labels


def written(tmp_path: Path, text: str, name: str = "labels.txt") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_is_a_label_with_or_without_phrases(tmp_path):
    path = written(tmp_path, "cat\n\npet: a cat, a dog ,\nred apple\tan apple\ta red fruit\n猫: 小猫\nratio 3:2\n")
    assert read_labels(path) == [
        Label("cat"),
        Label("pet", ("a cat", "a dog")),
        Label("red apple", ("an apple", "a red fruit")),
        Label("猫", ("小猫",)),
        Label("ratio 3:2"),
    ]


def test_byte_order_marks_and_windows_line_ends_are_stripped(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert read_labels(path) == [Label("cat"), Label("dog")]


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (["cat", "dog"], [Label("cat"), Label("dog")]),
        ({"n1": "tabby cat", "n2": ["dog", "hound"]}, [Label("n1", ("tabby cat",)), Label("n2", ("dog", "hound"))]),
    ],
)
def test_labels_may_be_json(tmp_path, content, labels):
    assert read_labels(written(tmp_path, json.dumps(content), "labels.json")) == labels


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("cat\n\ncat: a cat\n", "labels.txt", "Row 3 of .* names 'cat' again"),
        ("cat\n: a dog\n", "labels.txt", "Row 2 of .* has no name; give the label one"),
        ("cat\n\ta dog\n", "labels.txt", "Row 2 of .* has no name; give the label one"),
        ("\n\n", "labels.txt", "has no labels"),
        ("[1]", "labels.json", "list of names"),
        ("7", "labels.json", "list of names"),
        ('{"a": [1]}', "labels.json", "list of names"),
        ("{", "labels.json", "not valid JSON"),
        ('["a", "a"]', "labels.json", "Entry 2 of .* names 'a' again"),
    ],
)
def test_errors_in_a_labels_file_name_the_row(tmp_path, text, name, said):
    with pytest.raises(BadInput, match=said):
        read_labels(written(tmp_path, text, name))


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(BadInput, match="none.txt' cannot be read"):
        read_labels(tmp_path / "none.txt")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(BadInput, match="is not UTF-8"):
        read_templates(tmp_path / "image.png")


def test_a_line_is_a_template(tmp_path):
    assert read_templates(written(tmp_path, "a photo of {}.\n\n{}\n")) == ("a photo of {}.", "{}")


@pytest.mark.parametrize("wrong", ["a photo", "{} and {}", "{0}", "{} {name}", "}{}"])
def test_a_template_without_exactly_one_place_is_refused_with_its_row(tmp_path, wrong):
    with pytest.raises(BadInput, match="^Row 2 of"):
        read_templates(written(tmp_path, f"{{}}\n{wrong}\n"))
    with pytest.raises(BadInput):
        check_template(wrong)


def test_no_templates_at_all_are_refused(tmp_path):
    with pytest.raises(BadInput, match="has no templates"):
        read_templates(written(tmp_path, " \n"))


def test_labels_may_be_listed():
    assert split_labels("cat, red   apple,,dog ") == [Label("cat"), Label("red apple"), Label("dog")]


@pytest.mark.parametrize("wrong", ["", " , ", "cat,dog, cat"])
def test_a_list_without_labels_or_with_one_twice_is_refused(wrong):
    with pytest.raises(BadInput, match="different names"):
        split_labels(wrong)
