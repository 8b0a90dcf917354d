"""A column in, one row of features out for each line, whatever the lines hold."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file

from clipcore.encoding.batch import EncodedRow
from clipcore.encoding.rows import read_rows
from clipcore.encoding.tables import ColumnKind, ColumnOptions, extract, parse_schema, resolve_columns
from clipcore.encoding.writers import NpyWriter, TsvWriter, VectorFormat
from clipcore.errors import BadInput
from tests.clipcore.fakes import CARD, FakeEncoder, vector
from tests.clipcore.images import png
from tests.datasets.stopping import Stop, stopping_after
from tests.datasets.tables import BLUE, RED, row, url_safe, write_files, write_lines

UNIT = {length: np.asarray(vector(length), np.float32) for length in range(20)}


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


def tsv(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def numbers(*lengths: int | None) -> list[list[str]]:
    """What is written for texts of so many characters; None is a broken row."""
    return [[""] * 4 if length is None else [str(number) for number in UNIT[length]] for length in lengths]


def test_each_row_of_the_table_has_a_row_in_the_output(tmp_path: Path, encoder: FakeEncoder):
    table = write_lines(tmp_path / "in.tsv", "\ufeffone", "three", "一只猫", end="\r\n")
    done = extract(encoder, table, tmp_path / "out.tsv", ColumnOptions())
    assert tsv(tmp_path / "out.tsv") == numbers(3, 5, 3)
    assert (done.rows, done.problems, done.resumed_at) == (3, [], 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv", "out.tsv"]


def test_broken_rows_are_reported_and_keep_their_place(tmp_path: Path, encoder: FakeEncoder):
    table = write_lines(tmp_path / "in.tsv", "one", "", "a\tb", "three", " ")
    table.write_bytes(table.read_bytes() + b"\xff")
    done = extract(encoder, table, tmp_path / "out.tsv", ColumnOptions(), batch_size=2)
    assert tsv(tmp_path / "out.tsv") == numbers(3, None, None, 5, None, None)
    assert [(problem.name, problem.reason) for problem in done.problems] == [
        ("row 2", "Its text is empty."),
        ("row 3", "It has 2 columns instead of 1."),
        ("row 5", "Its text is empty."),
        ("row 6", "Its text is not UTF-8."),
    ]
    # NumPy's reader keeps the rows apart, as one of blank lines would not.
    read = np.genfromtxt(tmp_path / "out.tsv", delimiter="\t")
    assert np.isnan(read).all(axis=1).tolist() == [False, True, True, False, True, True]


@pytest.mark.parametrize("end", ["", "\n", "\n\r\n \n", "\n\t\n"])
def test_blank_lines_at_the_end_are_dropped(tmp_path: Path, encoder: FakeEncoder, end: str):
    (tmp_path / "in.tsv").write_text(f"one\n\nthree{end}", newline="")
    done = extract(encoder, tmp_path / "in.tsv", tmp_path / "out.tsv", ColumnOptions())
    assert tsv(tmp_path / "out.tsv") == numbers(3, None, 5)
    assert (done.rows, [problem.name for problem in done.problems]) == (3, ["row 2"])


def test_images_are_told_from_texts(tmp_path: Path, encoder: FakeEncoder):
    lines = [url_safe(RED), "!", url_safe(b"no image, but base64"), url_safe(BLUE).rstrip("=")]
    done = extract(encoder, write_lines(tmp_path / "in.tsv", *lines), tmp_path / "out.tsv", ColumnOptions())
    assert [kind for kind, _ in encoder.calls] == ["image"]
    assert [line[0] for line in tsv(tmp_path / "out.tsv")] == ["255.0", "", "", "0.0"]
    assert [problem.name for problem in done.problems] == ["row 2", "row 3"]


def test_a_column_of_paths(tmp_path: Path, encoder: FakeEncoder):
    write_files(tmp_path, {"p/red.png": RED})
    table = write_lines(tmp_path / "in.tsv", "p/red.png", "p/gone.png")
    done = extract(encoder, table, tmp_path / "out.tsv", ColumnOptions(kind=ColumnKind.FILE))
    assert [line[0] for line in tsv(tmp_path / "out.tsv")] == ["255.0", ""]
    assert [problem.reason for problem in done.problems] == ["It cannot be read: No such file or directory."]


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ([], ColumnOptions(column="2", append=("3", "1"))),
        (
            [],
            ColumnOptions(column="text", append=("label", "id"), names=parse_schema("id:str:1,text:str:1,label:str:1")),
        ),
        (["id\ttext\tlabel"], ColumnOptions(column="text", append=("label", "id"), header=True)),
    ],
)
def test_columns_by_number_by_schema_and_by_header(
    tmp_path: Path, encoder: FakeEncoder, head: list[str], options: ColumnOptions
):
    table = write_lines(tmp_path / "in.tsv", *head, "7\tone\tx", "8\tthree\ty", "9\tbroken")
    done = extract(encoder, table, tmp_path / "out.tsv", options)
    one, three, broken = numbers(3, 5, None)
    assert tsv(tmp_path / "out.tsv") == [[*one, "x", "7"], [*three, "y", "8"], [*broken, "", "9"]]
    assert done.problems[0].name == f"row {len(head) + 3}"


def test_windows_line_ends_are_stripped_from_appended_columns(tmp_path: Path, encoder: FakeEncoder):
    table = write_lines(tmp_path / "in.tsv", "one\tx", "three\ty", end="\r\n")
    extract(encoder, table, tmp_path / "out.tsv", ColumnOptions("1", append=("2",)))
    assert (tmp_path / "out.tsv").read_bytes().endswith(b"\ty\n")


def test_from_a_pipe_into_a_file(tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch):
    """A pipe cannot be read twice, so nothing is kept of what was stopped."""
    output = tmp_path / "out.tsv"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\nthree\n")))
    with pytest.raises(Stop):
        extract(encoder, None, output, ColumnOptions(), batch_size=1, progress=partial(stopping_after, 1))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\nthree\n")))
    assert extract(encoder, None, output, ColumnOptions()).rows == 2
    assert tsv(output) == numbers(3, 5)
    assert list(tmp_path.iterdir()) == [output]


def test_appended_columns_go_with_their_own_images(tmp_path: Path, encoder: FakeEncoder):
    """Decoding runs ahead of the model by several rows."""
    lines = [row(f"label {red}", png((red, 0, 0))) if red % 7 else f"label {red}\tbroken" for red in range(50)]
    table = write_lines(tmp_path / "in.tsv", *lines)
    extract(encoder, table, tmp_path / "out.tsv", ColumnOptions("2", append=("1",)), batch_size=3, workers=4)
    expected = [[f"{red}.0" if red % 7 else "", f"label {red}"] for red in range(50)]
    assert [[line[0], line[-1]] for line in tsv(tmp_path / "out.tsv")] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ColumnOptions(), "2 columns; name the one"),
        (ColumnOptions("text"), "no column 'text'"),
        (ColumnOptions("3"), "there is no column 3"),
        (ColumnOptions("1", append=("0",)), "no column '0'"),
        (ColumnOptions("a", names=("a", "b", "a2"), append=("c",)), "it has a, b, a2"),
    ],
)
def test_columns_that_are_not_there_are_refused(
    tmp_path: Path, encoder: FakeEncoder, options: ColumnOptions, words: str
):
    table = write_lines(tmp_path / "in.tsv", "a\tb", "c\td")
    with pytest.raises(BadInput, match=words):
        extract(encoder, table, tmp_path / "out.tsv", options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv"]


def test_a_schema_names_each_column_once():
    assert parse_schema("text:str:1, image:str:1") == ("text", "image")
    for wrong in ("", "a,,b", "a:str:1,a:int:1"):
        with pytest.raises(BadInput, match="must name each column once"):
            parse_schema(wrong)


def test_the_header_row_is_ignored_when_guessing_what_a_column_holds():
    rows = list(read_rows(io.BytesIO(f"image\n{url_safe(RED)}\nbroken\n".encode())))
    assert resolve_columns(ColumnOptions("image", header=True), rows).kind is ColumnKind.IMAGE


def test_texts_that_begin_like_a_bitmap_are_texts():
    """Qk is base64 of BM, a bitmap's signature."""
    rows = list(read_rows(io.BytesIO(b"Qk0A\nQk1234567890\nBM\n")))
    assert resolve_columns(ColumnOptions(), rows).kind is ColumnKind.TEXT


LINES = ["one", "", "three", "a\tb", "sevenxx", "four", "two", "x"]
LENGTHS = [3, None, 5, None, 7, 4, 3, 1]


def read_back(path: Path, form: VectorFormat) -> np.ndarray:
    if form is VectorFormat.NPY:
        return np.load(path)
    if form is VectorFormat.SAFETENSORS:
        return load_file(path)["vectors"]
    if form is VectorFormat.PARQUET:
        rows = pyarrow.parquet.read_table(path)["vector"].to_pylist()
        return np.asarray([row or [np.nan] * 4 for row in rows], np.float32)
    return np.genfromtxt(path, delimiter="\t", dtype=np.float32)


@pytest.mark.parametrize("form", list(VectorFormat))
@pytest.mark.parametrize("number", [0, 1, 5])
def test_an_interrupted_extraction_resumes_to_the_same_output(
    tmp_path: Path, encoder: FakeEncoder, form: VectorFormat, number: int
):
    table = write_lines(tmp_path / "in.tsv", *LINES)
    output = tmp_path / "out"
    with pytest.raises(Stop):
        extract(
            encoder,
            table,
            output,
            ColumnOptions(),
            form,
            batch_size=2,
            progress=lambda rows: stopping_after(number, rows),
        )
    assert not output.exists()
    encoder.calls.clear()
    done = extract(encoder, table, output, ColumnOptions(), form, batch_size=2)
    expected = [UNIT[length] if length else np.full(4, np.nan) for length in LENGTHS]
    np.testing.assert_array_equal(read_back(output, form), np.asarray(expected, np.float32))
    assert (done.rows, done.resumed_at) == (8, number // 2 * 2)
    assert [problem.name for problem in done.problems] == ["row 2", "row 4"]
    # What had been encoded is not encoded again.
    assert sum(len(batch) for batch in encoder.batches("text")) == sum(map(bool, LENGTHS[done.resumed_at :]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv", "out"]


def test_a_half_written_batch_is_truncated(tmp_path: Path, encoder: FakeEncoder):
    table = write_lines(tmp_path / "in.tsv", *LINES)
    output = tmp_path / "out.tsv"
    with pytest.raises(Stop):
        extract(encoder, table, output, ColumnOptions(), batch_size=2, progress=partial(stopping_after, 4))
    with (tmp_path / "out.tsv.part").open("ab") as file:
        file.write(b"0.123\t4." * 1000)
    extract(encoder, table, output, ColumnOptions(), batch_size=2)
    assert tsv(output) == numbers(*LENGTHS)


@pytest.mark.parametrize("change", ["table", "column", "format", "model"])
def test_only_the_same_command_resumes(tmp_path: Path, encoder: FakeEncoder, change: str):
    table = write_lines(tmp_path / "in.tsv", "one\tx", "three\ty", "four\tz")
    output = tmp_path / "out"
    with pytest.raises(Stop):
        extract(encoder, table, output, ColumnOptions("1"), batch_size=1, progress=partial(stopping_after, 2))
    if change == "table":
        write_lines(table, "another\tx")
    if change == "model":
        encoder = FakeEncoder(card=replace(encoder.card, revision="2"))
    options = ColumnOptions("2") if change == "column" else ColumnOptions("1")
    form = VectorFormat.NPY if change == "format" else VectorFormat.TSV
    with pytest.raises(BadInput, match="another command's output"):
        extract(encoder, table, output, options, form)
    assert extract(encoder, table, output, options, form, force=True).resumed_at == 0
    with pytest.raises(BadInput, match="exists"):
        extract(encoder, table, output, options, form)


def test_parquet_has_the_appended_columns_and_row_groups(
    tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clipcore.encoding.writers._ROW_GROUP", 4)
    table = write_lines(tmp_path / "in.tsv", *(f"{'x' * (n + 1)}\t类 {n}" for n in range(10)))
    output = tmp_path / "out.parquet"
    extract(encoder, table, output, ColumnOptions("1", append=("2",)), VectorFormat.PARQUET, batch_size=3)
    read = pyarrow.parquet.read_table(output)
    assert read["2"].to_pylist() == [f"类 {n}" for n in range(10)]
    assert [row[0] for row in read["vector"].to_pylist()] == [float(n + 1) for n in range(10)]
    assert pyarrow.parquet.ParquetFile(output).num_row_groups > 1
    extract(encoder, write_lines(table, "", "a"), output, ColumnOptions(), VectorFormat.PARQUET, force=True)
    assert pyarrow.parquet.read_table(output)["vector"].is_null().to_pylist() == [True, False]
    assert pyarrow.parquet.read_schema(output).field("vector").type.list_size == 4


def test_an_npy_file_holds_no_appended_columns(tmp_path: Path, encoder: FakeEncoder):
    table = write_lines(tmp_path / "in.tsv", "a\tb")
    with pytest.raises(BadInput, match="embeddings only"):
        extract(encoder, table, tmp_path / "o.npy", ColumnOptions("1", append=("2",)), VectorFormat.NPY)


@pytest.mark.parametrize("rows", [0, 7, 10**15])
def test_numpy_reads_the_header_of_an_npy_file(rows: int):
    writer = NpyWriter(replace(CARD, dimension=768))
    head = writer.head(rows)
    file = io.BytesIO(head)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == ((rows, 768), False, np.dtype("<f4"))
    # It is written before the rows are counted, and again when they are.
    assert file.tell() == len(head) == len(writer.head(0))


@pytest.mark.parametrize("form", list(VectorFormat))
def test_an_empty_table_has_no_rows(tmp_path: Path, encoder: FakeEncoder, form: VectorFormat):
    table = write_lines(tmp_path / "in.tsv")
    assert extract(encoder, table, tmp_path / "out", ColumnOptions(), form).rows == 0
    assert form is VectorFormat.TSV or len(read_back(tmp_path / "out", form)) == 0


def test_float32_numbers_come_back_exactly(tmp_path: Path):

    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    line = TsvWriter(replace(CARD, dimension=1000)).rows([EncodedRow("row 1", values, ())])
    np.testing.assert_array_equal(np.asarray(line.decode().split("\t"), np.float32), values)
