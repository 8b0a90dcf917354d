"""Labels are added, removed and imported, or refused with a reason; files name the line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.indexing.label_edits import (
    MAX_LABELS,
    MAX_PROMPTS,
    Imported,
    LabelsRefused,
    Problem,
    own_label,
    split_prompts,
    with_imported,
    with_label,
    with_shipped,
    without_label,
)
from bot.indexing.label_files import MAX_FILE_BYTES, read_labels, write_labels
from bot.indexing.labels import NamedLabel, ShippedLabels
from bot.label_names import is_label_name, label_key
from bot.store.labels import DEFAULT, LabelSet, OwnLabel

CAT, DOG = NamedLabel("cat", "🐱", "cat", "猫", ("kitty",), ("a cat",)), NamedLabel("dog", "🐶", "dog", "狗")
CHESS = NamedLabel("chess", "♟️", "chess", "国际象棋")
SHIPPED = ShippedLabels((CAT, DOG), {"games": (CHESS, DOG)})
START = LabelSet()


def names(chosen: LabelSet) -> list[str]:
    return [label.name for label in SHIPPED.in_force(chosen)]


def refused(call, *args, **kwargs) -> LabelsRefused:
    with pytest.raises(LabelsRefused) as caught:
        call(*args, **kwargs)
    return caught.value


# -- single labels


def test_own_labels_come_first_and_each_name_once() -> None:
    chosen = LabelSet((DEFAULT, "games"), (OwnLabel("sofa"), OwnLabel("CAT", ("our cat",), 70)), ("chess",))
    assert names(chosen) == ["sofa", "CAT", "dog"]
    [_, cat, _] = SHIPPED.in_force(chosen)
    assert (cat.phrases, cat.threshold, cat.own) == (("our cat",), 70, True)


def test_a_label_is_added_and_one_of_that_name_is_changed() -> None:
    chosen = with_label(START, OwnLabel("sofa"), SHIPPED)
    assert names(chosen) == ["sofa", "cat", "dog"]
    chosen = with_label(chosen, OwnLabel("Sofa", ("a couch",)), SHIPPED)
    assert chosen.own == (OwnLabel("Sofa", ("a couch",)),)
    for name in ("sofa", "ＣＡＴ"):
        assert refused(with_label, chosen, OwnLabel(name), SHIPPED).problem is Problem.EXISTS


def test_a_shipped_label_is_left_out_and_comes_back() -> None:
    without, name = without_label(START, "Kitty", SHIPPED)
    assert (name, names(without)) == ("cat", ["dog"])
    assert with_label(without, OwnLabel("cat"), SHIPPED) == START


def test_a_label_of_ones_own_that_replaces_a_shipped_one_is_removed_with_it() -> None:
    chosen = with_label(START, OwnLabel("cat", threshold=80), SHIPPED)
    without, _ = without_label(chosen, "cat", SHIPPED)
    assert names(without) == ["dog"]
    assert refused(without_label, without, "cat", SHIPPED).problem is Problem.UNKNOWN


def test_a_shipped_set_is_used_instead_or_together_and_own_labels_stay() -> None:
    chosen = with_label(START, OwnLabel("sofa"), SHIPPED)
    assert names(with_shipped(chosen, "games", SHIPPED, together=False)) == ["sofa", "chess", "dog"]
    assert names(with_shipped(chosen, "games", SHIPPED, together=True)) == ["sofa", "cat", "dog", "chess"]
    assert names(with_shipped(chosen, None, SHIPPED, together=False)) == ["sofa"]


def test_the_labels_in_use_are_bounded() -> None:
    many = LabelSet((), tuple(OwnLabel(f"label {number}") for number in range(MAX_LABELS)))
    assert refused(with_label, many, OwnLabel("one more"), SHIPPED).problem is Problem.TOO_MANY
    assert refused(with_shipped, many, "games", SHIPPED, together=True).problem is Problem.TOO_MANY
    file = Imported((OwnLabel("one more"),))
    assert refused(with_imported, many, file, SHIPPED, merge=True).problem is Problem.TOO_MANY
    assert names(with_imported(many, file, SHIPPED, merge=False)) == ["one more"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("",), Problem.NAME),
        (("\u200b \u200d",), Problem.NAME),
        (("x" * 61,), Problem.NAME),
        (("cat, dog",), Problem.NAME),
        (("cat", ["p"] * (MAX_PROMPTS + 1)), Problem.PROMPTS),
        (("cat", ["p" * 121]), Problem.PROMPT),
        (("cat", (), 0), Problem.THRESHOLD),
        (("cat", (), 100), Problem.THRESHOLD),
        (("cat", (), None, "klingon!"), Problem.LANGUAGE),
    ],
)
def test_what_is_no_label_is_refused(arguments, problem) -> None:
    assert refused(own_label, *arguments).problem is problem


def test_a_label_is_written_cleanly() -> None:
    assert own_label(" Cafe\u0301\u202e\n bar ", split_prompts("a  café; ; a bar；a café"), 7, "ZH-cn") == OwnLabel(
        "Café bar", ("a café", "a bar"), 7, "zh-cn"
    )


# -- files


def test_lines_have_names_and_prompts() -> None:
    text = "\ufeffcat\n\n  mascot : a blue bird, sitting; the bird on our flag\n猫：一只猫\n"
    assert read_labels(text.encode(), SHIPPED) == Imported(
        (
            OwnLabel("cat"),
            OwnLabel("mascot", ("a blue bird, sitting", "the bird on our flag")),
            OwnLabel("猫", ("一只猫",)),
        )
    )


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_names_its_columns(separator: str) -> None:
    rows = [["Name", "Threshold", "Prompts", "language"], ["cat", "70", '"a cat"', "en"], ["dog"], ["sofa", "", "", ""]]
    text = "\r\n".join(separator.join(row) for row in rows)
    assert read_labels(text.encode(), SHIPPED).labels == (
        OwnLabel("cat", ("a cat",), 70, "en"),
        OwnLabel("dog"),
        OwnLabel("sofa"),
    )


def test_json_is_a_list_or_an_object_of_names_or_what_export_writes() -> None:
    as_list = '["cat", {"name": "dog", "prompts": "a dog; a puppy", "threshold": 60, "language": "en"}]'
    assert read_labels(as_list.encode(), SHIPPED).labels == (
        OwnLabel("cat"),
        OwnLabel("dog", ("a dog", "a puppy"), 60, "en"),
    )
    as_object = '{"cat": "a cat", "dog": ["a dog", "a puppy"]}'
    assert read_labels(as_object.encode(), SHIPPED).labels == (
        OwnLabel("cat", ("a cat",)),
        OwnLabel("dog", ("a dog", "a puppy")),
    )
    whole = '{"labels": ["sofa"], "sets": ["games"], "without": ["chess"]}'
    assert read_labels(whole.encode(), SHIPPED) == Imported((OwnLabel("sofa"),), ("games",), ("chess",))


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("cat\ndog\n\nCAT", Problem.TWICE, 4),
        ("cat\nx,y", Problem.NAME, 2),
        ("cat\n" + "d" * 61, Problem.NAME, 2),
        ("name,threshold\ncat,50\n\ndog,half", Problem.THRESHOLD, 4),
        ("name,threshold\ncat,50,more", Problem.ENTRY, 2),
        ('name,prompts\ncat,"a\ncat"\ndog,"' + "x" * 121 + '"', Problem.PROMPT, 4),
        ('[\n "cat",\n\n {"name": "dog", "threshold": 101}]', Problem.THRESHOLD, 4),
        ('[\n "cat",\n {"name": "dog", "threshold": true}]', Problem.THRESHOLD, 3),
        ('[\n "cat",\n {"nom": "dog"}]', Problem.ENTRY, 3),
        ('[\n "cat",\n "CAT"]', Problem.TWICE, 3),
        ('{\n "labels":\n ["cat",\n 5]}', Problem.ENTRY, 4),
        ('{"labels": [],\n "sets": ["games",\n "nothing"]}', Problem.UNKNOWN_SET, 2),
        ('{\n"cat": {}}', Problem.ENTRY, 2),
        ('[\n"cat",,]', Problem.JSON, 2),
        ("[" * 100_000, Problem.JSON, None),
        ("", Problem.NO_LABELS, None),
        ("[]", Problem.NO_LABELS, None),
        ("name,prompts\n", Problem.NO_LABELS, None),
        ("x" * (MAX_FILE_BYTES + 1), Problem.TOO_LARGE, None),
        ("\n".join(f"label {number}" for number in range(MAX_LABELS + 1)), Problem.TOO_MANY, MAX_LABELS + 1),
    ],
)
def test_a_file_is_refused_with_the_line(text: str, problem: Problem, line: int | None) -> None:
    error = refused(read_labels, text.encode(), SHIPPED)
    assert (error.problem, error.line) == (problem, line)


def test_a_label_that_is_there_twice_is_refused_with_both_lines() -> None:
    error = refused(read_labels, b"cat\ndog\nCat", SHIPPED)
    assert (error.value, error.line, error.first) == ("Cat", 3, 1)


def test_what_is_no_text_is_refused_with_the_line() -> None:
    error = refused(read_labels, b"cat\n\xff\xfe", SHIPPED)
    assert (error.problem, error.line) == (Problem.NO_TEXT, 2)


def test_an_import_replaces_or_merges() -> None:
    chosen = LabelSet((DEFAULT,), (OwnLabel("sofa"), OwnLabel("lamp")), ("cat",))
    file = Imported((OwnLabel("Sofa", ("a couch",)), OwnLabel("cat", threshold=60)), ("games",), ("dog",))
    merged = with_imported(chosen, file, SHIPPED, merge=True)
    assert merged == LabelSet(
        (DEFAULT, "games"), (OwnLabel("Sofa", ("a couch",)), OwnLabel("lamp"), OwnLabel("cat", threshold=60)), ("dog",)
    )
    assert with_imported(chosen, file, SHIPPED, merge=False) == LabelSet(("games",), file.labels, ("dog",))


def own_or_none(text: str) -> OwnLabel | None:
    return own_label(text) if is_label_name(text) else None


label_names = st.text(min_size=1, max_size=60).map(own_or_none).filter(bool)


own_labels = st.builds(
    lambda label, prompts, threshold, language: own_label(label.name, prompts, threshold, language or ""),
    label_names,
    st.lists(st.text(max_size=100), max_size=MAX_PROMPTS),
    st.none() | st.integers(1, 99),
    st.sampled_from([None, "en", "zh", "pt-br"]),
)


@given(
    st.lists(own_labels, max_size=8, unique_by=lambda label: label_key(label.name)), st.sampled_from([(), ("games",)])
)
def test_an_export_is_read_as_what_it_was(own: list[OwnLabel], sets: tuple[str, ...]) -> None:
    chosen = LabelSet((DEFAULT, *sets), tuple(own), ("cat",))
    file = write_labels(chosen)
    assert with_imported(START, read_labels(file, SHIPPED), SHIPPED, merge=False) == chosen
    for number, line in enumerate(file.decode().split("\n"), start=1):
        if '"name"' in line:
            assert json.loads(line.strip().rstrip(","))["name"] in {label.name for label in own}, number


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.from_regex(rb'[\[{"a,:\n\]}]{1,40}'))
def test_whatever_a_file_holds_it_is_read_or_refused(data: bytes) -> None:
    try:
        read = read_labels(data, SHIPPED)
    except LabelsRefused as error:
        assert error.problem in Problem
    else:
        assert all(own_label(label.name) for label in read.labels)
