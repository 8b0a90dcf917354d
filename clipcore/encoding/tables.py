"""Encodes one column of a table: one row of the output for each row of the table, in constant memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mode
from typing import BinaryIO

from clipcore.batching import DEFAULT_BATCH_SIZE, batches_of
from clipcore.encoding.batch import EncodedRow, OnProblem, Problem, RowSource, encode_rows
from clipcore.encoding.resumable import Progress, check_output, file_identity
from clipcore.encoding.rows import (
    Row,
    begins_as_image,
    decode_field,
    find_column,
    open_table,
    read_rows,
    text_of,
    with_sample,
    without_blank_end,
)
from clipcore.encoding.writers import WRITERS, TsvWriter, VectorFormat, Written, check_format, write_rows
from clipcore.errors import BadInput
from clipcore.files import read_regular
from clipcore.types import Encoder


class ColumnKind(StrEnum):
    """What a column holds: texts, base64 images, or the paths of image files."""

    AUTO = "auto"
    TEXT = "text"
    IMAGE = "image"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Which column to encode. column, append: names, or numbers from 1; without a column, the table has only one.

    kind: AUTO tells base64 images from texts by the first rows. append: columns to copy to the output. names: those of
    all columns, where the table has no header row (EasyNLP's input schema). header: whether the first row names them.
    """

    column: str | None = None
    kind: ColumnKind = ColumnKind.AUTO
    append: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    header: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedColumns:
    """column, append: indices from 0. columns: the number of columns in a row."""

    column: int
    kind: ColumnKind
    append: tuple[int, ...]
    columns: int


def extract(
    model: Encoder,
    table: Path | None,
    output: Path | None,
    options: ColumnOptions,
    format: VectorFormat = VectorFormat.TSV,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 2,
    force: bool = False,
    progress: Progress = iter,
    on_problem: OnProblem = lambda problem: None,
) -> Written:
    """Encodes a column of the table. Each row of the table has a row in the output; that of a broken one is empty.

    table, output: None for stdin and stdout, the latter for TSV only. Unless stdin or stdout is used, the same call
    resumes after an interruption. on_problem: called for each broken row, those of earlier runs first. Raises BadInput
    where the table or the options cannot be used, and where the output exists, unless `force`.
    """
    check_format(format, options.append)
    with nullcontext(sys.stdin.buffer) if table is None else open_table(table) as file:
        sources = _sources(file, Path() if table is None else table.parent, options)

        def encode(taken: int) -> Iterable[EncodedRow]:
            rest = islice(sources, taken, None)
            return progress(encode_rows(model, rest, batch_size=batch_size, workers=workers, full_resolution=True))

        if output is None:
            return _write_to_stdout(encode(0), TsvWriter(model.card), batch_size, on_problem)
        job = None
        if table is not None:
            job = {"extract": file_identity(table), "options": asdict(options)}
            job |= {"model": model.card.key, "format": format}
        writer = WRITERS[format](model.card, options.append)
        return write_rows(output, writer, job, encode, batch_size=batch_size, force=force, on_problem=on_problem)


def check_extract(
    table: Path | None, output: Path | None, options: ColumnOptions, format: VectorFormat, *, force: bool = False
) -> None:
    """Checks before a model is loaded what can be checked. Raises BadInput as `extract` does."""
    if output is not None:
        check_output(output, force=force)
    check_format(format, options.append)
    if table is not None:
        with open_table(table) as file:
            _sources(file, table.parent, options)


def parse_schema(schema: str) -> tuple[str, ...]:
    """`text:str:1,image:str:1` -> `text`, `image`; types and lengths are ignored. Raises BadInput."""
    names = tuple(part.split(":")[0].strip() for part in schema.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise BadInput(f"The input schema {schema!r} must name each column once, such as text:str:1,image:str:1.")
    return names


def resolve_columns(options: ColumnOptions, sample: Sequence[Row]) -> ResolvedColumns:
    """sample: the table's first rows, including its header row. Raises BadInput."""
    rows = [row.line.split(b"\t") for row in sample if not row.problem]
    names = list(options.names)
    if options.header and rows:
        names = [field.decode(errors="replace").strip() for field in rows.pop(0)]
    columns = len(names) or mode([len(row) for row in rows] or [1])
    if options.column is None and columns > 1:
        raise BadInput(f"The table has {columns} columns; name the one to encode with --column.")
    column = 0 if options.column is None else find_column(options.column, names, columns)
    append = tuple(find_column(name, names, columns) for name in options.append)
    kind = options.kind
    if kind is ColumnKind.AUTO:
        filled = [row[column] for row in rows if len(row) == columns and row[column].strip()]
        images = sum(map(begins_as_image, filled))
        kind = ColumnKind.IMAGE if images and 2 * images >= len(filled) else ColumnKind.TEXT
    return ResolvedColumns(column, kind, append, columns)


def _sources(file: BinaryIO, folder: Path, options: ColumnOptions) -> Iterator[RowSource]:
    """One for each row after the header row. Raises BadInput at once where the options do not fit the table."""
    sample, rows = with_sample(without_blank_end(read_rows(file)))
    columns = resolve_columns(options, sample)
    return (_source(row, columns, folder) for row in islice(rows, int(options.header), None))


def _write_to_stdout(rows: Iterable[EncodedRow], writer: TsvWriter, batch_size: int, on_problem: OnProblem) -> Written:
    count, problems = 0, list[Problem]()
    for batch in batches_of(rows, batch_size):
        for problem in (row.problem for row in batch if row.problem):
            problems.append(problem)
            on_problem(problem)
        sys.stdout.buffer.write(writer.rows(batch))
        sys.stdout.buffer.flush()
        count += len(batch)
    return Written(count, problems)


def _source(row: Row, columns: ResolvedColumns, folder: Path) -> RowSource:
    # A row that is too short has empty ones.
    fields: Sequence[bytes] = row.line.split(b"\t") if columns.append else ()
    appended = tuple(fields[at].decode(errors="replace") if at < len(fields) else "" for at in columns.append)
    if columns.kind is not ColumnKind.TEXT:
        return RowSource(row.name, appended, image=partial(_read_image, row, columns, folder))
    try:
        return RowSource(row.name, appended, text=text_of(row.fields(columns.columns)[columns.column]))
    except BadInput as error:
        return RowSource(row.name, appended, problem=str(error))


def _read_image(row: Row, columns: ResolvedColumns, folder: Path) -> bytes:
    field = row.fields(columns.columns)[columns.column]
    if columns.kind is ColumnKind.FILE:
        return read_regular(folder / field.decode(errors="replace").strip())
    return decode_field(field)
