"""Tables of texts and base64 images, as they come from others' hands."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from clipcore.datasets import Columns, Pairs, Problem, open_pairs
from clipcore.encoding.rows import read_rows
from clipcore.errors import BadInput, ImageRejected
from tests.clipcore.images import encode, noise, quarters
from tests.datasets.tables import BLUE, GREEN, RED, row, url_safe, write_lines


def told(pairs: Pairs) -> list[tuple[str, bytes]]:
    return [
        (caption, pairs.images[image].read()) for caption, image in zip(pairs.captions, pairs.image_of, strict=True)
    ]


def test_each_row_is_a_text_and_its_image(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("一只猫", RED), row("a blue dog", BLUE))
    pairs = open_pairs(table)
    assert told(pairs) == [("一只猫", RED), ("a blue dog", BLUE)]
    assert [image.name for image in pairs.images] == ["row 1", "row 2"]
    assert (len(pairs), list(pairs.problems)) == (2, [])


def test_the_same_image_in_several_rows_is_one_image_in_any_base64_alphabet(tmp_path: Path):
    spelt = [url_safe(RED), base64.b64encode(RED).decode(), url_safe(RED).rstrip("=")]
    assert url_safe(RED).endswith("=")
    assert len(set(spelt)) > 1
    table = write_lines(tmp_path / "a.tsv", *(f"red {n}\t{field}" for n, field in enumerate(spelt)), row("blue", BLUE))
    pairs = open_pairs(table)
    assert pairs.image_of.tolist() == [0, 0, 0, 1]
    assert [image.read() for image in pairs.images] == [RED, BLUE]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last_end", [True, False])
def test_line_ends_and_a_byte_order_mark_are_stripped(tmp_path: Path, end: str, mark: str, last_end: bool):
    table = write_lines(tmp_path / "a.tsv", mark + row("red", RED), row("blue", BLUE), end=end)
    if not last_end:
        table.write_bytes(table.read_bytes().removesuffix(end.encode()))
    assert told(open_pairs(table)) == [("red", RED), ("blue", BLUE)]


def test_the_image_column_may_come_first(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", f"{url_safe(RED)}\tred", f"{url_safe(BLUE)}\tblue")
    assert told(open_pairs(table)) == [("red", RED), ("blue", BLUE)]


@pytest.mark.parametrize("columns", [None, Columns(text="caption"), Columns(header=True)])
def test_a_header_row_is_not_a_pair(tmp_path: Path, columns: Columns | None):
    table = write_lines(tmp_path / "a.tsv", "caption\timage", row("red", RED))
    assert told(open_pairs(table, columns=columns)) == [("red", RED)]


def test_with_three_columns_the_text_column_must_be_given(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", f"7\tred\t{url_safe(RED)}", f"8\tblue\t{url_safe(BLUE)}")
    with pytest.raises(BadInput, match="3 columns; say which"):
        open_pairs(table)
    assert told(open_pairs(table, columns=Columns(text="2"))) == [("red", RED), ("blue", BLUE)]
    with pytest.raises(BadInput, match="no column 'caption'"):
        open_pairs(table, columns=Columns(text="caption"))


def test_a_column_beyond_the_last_is_refused(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("red", RED), row("blue", BLUE))
    for beyond in (Columns(text="9"), Columns(image="9", text="1")):
        with pytest.raises(BadInput, match="2 columns, so there is no column 9"):
            open_pairs(table, columns=beyond)


def test_an_image_of_any_length_may_follow_a_quoted_text(tmp_path: Path):
    """Python's csv module reads 128 KiB a field if it is not told otherwise."""
    large = encode(quarters(), "PNG") + noise(300, 200).tobytes()
    lines = [f'"red, ""dark"" red",{url_safe(RED)}', f'"a large one",{url_safe(large)}']
    assert told(open_pairs(write_lines(tmp_path / "a.csv", *lines))) == [
        ('red, "dark" red', RED),
        ("a large one", large),
    ]


def test_a_carriage_return_inside_a_quoted_row_is_a_space(tmp_path: Path):
    table = write_lines(tmp_path / "a.csv", f'"a\rred",{url_safe(RED)}', f'blue\rdog,"{url_safe(BLUE)}\r"')
    assert told(open_pairs(table)) == [("a red", RED), ("blue dog", BLUE)]


def test_broken_rows_are_reported_and_skipped(tmp_path: Path):
    table = write_lines(
        tmp_path / "a.tsv",
        row("red", RED),
        "no image here",
        "not base64\t!!!",
        "",
        row("a\ttab", BLUE),
        row(" ", BLUE),
        row("blue", BLUE),
    )
    with table.open("ab") as file:
        file.write(b"\xff\xfe\t" + url_safe(BLUE).encode())
    pairs = open_pairs(table)
    assert told(pairs) == [("red", RED), ("blue", BLUE)]
    assert pairs.problems == [
        Problem("row 2", "It has 1 columns instead of 2."),
        Problem("row 3", "Its image is not base64."),
        Problem("row 5", "It has 3 columns instead of 2."),
        Problem("row 6", "Its text is empty."),
        Problem("row 8", "Its text is not UTF-8."),
    ]
    assert [image.name for image in pairs.images] == ["row 1", "row 7"]


def test_the_header_row_decides_the_number_of_columns(tmp_path: Path):
    short = [f"a\t{url_safe(RED)}", f"b\t{url_safe(RED)}"]
    table = write_lines(tmp_path / "a.tsv", "text\timage\tid", *short, f"c\t{url_safe(RED)}\t3")
    pairs = open_pairs(table)
    assert (pairs.captions, [problem.name for problem in pairs.problems]) == (["c"], ["row 2", "row 3"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"a\tb\nc\td\n", "No column holds images"),
        (b"text\timage\n", "No column holds images"),
    ],
)
def test_an_unusable_table_is_refused(tmp_path: Path, content: bytes, words: str):
    table = tmp_path / "a.tsv"
    table.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        open_pairs(table)


def test_a_table_of_broken_rows_only_is_refused_with_the_first_problem(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row(" ", RED))
    with pytest.raises(BadInput, match="row 1: Its text is empty"):
        open_pairs(table)


def test_an_image_that_changed_after_opening_is_rejected_when_read(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("red", RED))
    pairs = open_pairs(table)
    table.write_bytes(table.read_bytes().replace(b"iVBOR", b"\t\n!\t\t"))
    with pytest.raises(ImageRejected):
        pairs.images[0].read()


def test_a_row_of_megabytes_is_read_and_one_beyond_the_limit_is_skipped(tmp_path: Path):
    large = encode(quarters(), "PNG") + noise(900, 700).tobytes()
    table = write_lines(tmp_path / "a.tsv", row("large", large), row("green", GREEN))
    assert told(open_pairs(table)) == [("large", large), ("green", GREEN)]
    with table.open("rb") as file:
        rows = list(read_rows(file, longest=1024 * 1024))
    assert [(row.number, bool(row.problem)) for row in rows] == [(1, True), (2, False)]
    assert rows[1].line.startswith(b"green\t")
    assert table.read_bytes()[rows[1].start :] == rows[1].line + b"\n"


def test_images_can_be_sliced_and_indexed_from_the_end(tmp_path: Path):
    table = write_lines(tmp_path / "a.tsv", row("red", RED), row("green", GREEN), row("blue", BLUE))
    images = open_pairs(table).images
    assert [image.read() for image in images[::-1][:2]] == [BLUE, GREEN]
    assert images[-1].read() == BLUE
    with pytest.raises(IndexError):
        images[3]


def test_opening_a_table_keeps_no_images_in_memory(tmp_path: Path):
    """Ten megabytes of images are worth a few hundred bytes."""
    import tracemalloc

    table = tmp_path / "a.tsv"
    with table.open("wb") as file:
        for number in range(200):
            image = RED + noise(130, 130, seed=number).tobytes()
            file.write(row(f"noise {number}", image).encode() + b"\n")
    assert table.stat().st_size > 10_000_000
    tracemalloc.start()
    try:
        pairs = open_pairs(table)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pairs.images) == 200
    assert kept < 200_000
