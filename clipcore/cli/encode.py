"""`clipcore encode`, `extract` and `tokenize`: texts and images to embeddings, texts to tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from clipcore.cli.options import Commands, EncodingOptions, Force, Json, option
from clipcore.cli.output import Skips, finish, print_json, tracked
from clipcore.encoding.batch import EncodedRow, RowSource, encode_rows
from clipcore.encoding.inputs import check_texts, check_vector_file, inputs_of, lines_of, write_inputs
from clipcore.encoding.tables import ColumnKind, ColumnOptions, check_extract, extract, parse_schema
from clipcore.encoding.writers import TsvWriter, VectorFormat
from clipcore.errors import BadInput
from clipcore.models.tokenizers import CONTEXT_LENGTH, END, text_of, token_ids

if TYPE_CHECKING:
    from clipcore.model import ClipModel

_PIPE = Path("-")
_tracked = partial(tracked, doing="encoding")
_json = partial(json.dumps, ensure_ascii=False)

TextsFile = Annotated[
    Path | None, typer.Option("--texts", help="A file with one text a line; - for stdin.", allow_dash=True)
]

commands = Commands()


@commands.command()
def encode(
    things: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT|IMAGE|FOLDER", help="In any order; a folder stands for its images."),
    ] = None,
    texts: TextsFile = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .npy, .parquet, .safetensors or .tsv file; TSV on stdout if not given."),
    ] = None,
    force: Force = False,
    *,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Encode texts and images as embeddings of unit length, one row each, with their names.

    Names: the first column of .tsv, a column of .parquet, the metadata of .safetensors, a .names.json beside .npy.
    Images that cannot be read are named on stderr and have no row. The same command resumes an output that was stopped.
    """
    inputs = [*inputs_of(things or []), *_read_texts(texts)]
    if not inputs:
        raise BadInput("There is nothing to encode; give texts, images, folders, or --texts FILE.")
    if output is not None:
        check_vector_file(output, force=force)
    model = encoding.load()
    check_texts(model, inputs)
    skips = Skips()
    size = encoding.batch_size
    if output is None:
        _print_embeddings(model, _encode(model, inputs, size, skips), skips, as_json)
        return skips.exit_code
    written = write_inputs(model, inputs, output, batch_size=size, force=force, progress=_tracked, on_problem=skips.add)
    result = {"model": model.card.key, "dimension": model.card.dimension, "output": str(output)}
    counts = {"encoded": written.rows, "resumed_at": written.resumed_at}
    told = f"{written.rows} embeddings of {model.card.dimension} dimensions in {output}"
    return finish(result | counts, lambda: print(told), skips, as_json=as_json)


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    column: str | None = option(None, help="Which to encode: a name, or a number from 1.")
    kind: ColumnKind = option(ColumnKind.AUTO, help="What it holds; auto tells base64 images from texts.")
    append: str = option("", help="Columns to write after the embedding, such as id,label.")
    input_schema: str = option("", help="Names for the columns, such as text:str:1,image:str:1; types are ignored.")
    header: bool = option(False, help="The first row names the columns.")

    def parse(self) -> ColumnOptions:
        """Raises BadInput."""
        names = parse_schema(self.input_schema) if self.input_schema else ()
        append = tuple(name for name in self.append.split(",") if name)
        return ColumnOptions(self.column, self.kind, append, names, self.header)


@commands.command("extract")
def extract_features(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A TSV of texts or base64 images; - for stdin.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .npy, .parquet, .safetensors or .tsv file; - is stdout, for TSV and without --json.",
        ),
    ] = _PIPE,
    *,
    columns: ColumnChoice,
    form: Annotated[VectorFormat | None, typer.Option("--format", help="By the output's ending if not given.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at a time.")] = 2,
    force: Force = False,
    encoding: EncodingOptions,
    as_json: Json = False,
) -> int:
    """Encode one column of a table: one row for each of its rows, tab-separated, in constant memory.

    A broken or blank row is named on stderr and keeps its place: its numbers are empty (nan in .npy and .safetensors,
    null in .parquet); blank lines at the very end are dropped.
    The same command resumes an output that was stopped, unless it uses stdin or stdout.
    """
    format = _format_of(form, output, as_json)
    options = columns.parse()
    source, target = (None if path == _PIPE else path for path in (table, output))
    check_extract(source, target, options, format, force=force)
    model = encoding.load()
    skips = Skips()
    written = extract(
        model,
        source,
        target,
        options,
        format,
        batch_size=encoding.batch_size,
        workers=workers,
        force=force,
        progress=_tracked,
        on_problem=skips.add,
    )
    result = {"output": str(output), "rows": written.rows, "dimension": model.card.dimension}
    told = f"{written.rows} rows of {model.card.dimension} dimensions in {output}"
    show = (lambda: None) if target is None else (lambda: print(told))
    return finish(result | {"resumed_at": written.resumed_at}, show, skips, as_json=as_json)


def _format_of(form: VectorFormat | None, output: Path, as_json: bool) -> VectorFormat:
    format = form or (VectorFormat.TSV if output == _PIPE else VectorFormat.of(output))
    if format is None:
        raise BadInput(f"The ending of {str(output)!r} names no format; add --format {', '.join(VectorFormat)}.")
    if output == _PIPE and (as_json or format is not VectorFormat.TSV):
        raise BadInput("Only TSV goes to stdout; add --output FILE for --json or another --format.")
    return format


@commands.command()
def tokenize(
    given: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; with --decode, tokens.")] = None,
    texts_file: TextsFile = None,
    context_length: Annotated[
        int, typer.Option(min=2, help="Tokens a text may have, start and end included.")
    ] = CONTEXT_LENGTH,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut longer texts instead of refusing them.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="Turn tokens into text instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show CLIP's tokens, one text a line: 49406, the text, 49407. Works without any model."""
    texts = [*(given or []), *(each.name for each in _read_texts(texts_file))]
    if not texts:
        raise typer.BadParameter("Give texts, or --texts FILE.")
    if decode:
        text = text_of(_parse_tokens(texts))
        print_json({"text": text}) if as_json else print(text)
        return
    # Each row ends with the end token, and then with zeros.
    rows = [np.trim_zeros(row, "b").tolist() for row in token_ids(texts, context_length, truncate=truncate)]
    if as_json:
        tokens = [{"text": text, "tokens": row} for text, row in zip(texts, rows, strict=True)]
        print_json({"context_length": context_length, "texts": tokens})
        return
    for row in rows:
        print(*row)


def _read_texts(path: Path | None) -> list[RowSource]:
    """Raises BadInput."""
    if path is None:
        return []
    try:
        data = sys.stdin.buffer.read() if path == _PIPE else path.read_bytes()
        return lines_of(data.decode("utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not UTF-8; save it as that, one text a line.") from error


def _encode(model: ClipModel, inputs: Sequence[RowSource], batch_size: int, skips: Skips) -> Iterator[EncodedRow]:
    for row in encode_rows(model, _tracked(inputs), batch_size=batch_size):
        if row.problem is not None:
            skips.add(row.problem)
        else:
            yield row


def _print_embeddings(model: ClipModel, rows: Iterator[EncodedRow], skips: Skips, as_json: bool) -> None:
    """JSON is one document with one embedding a line. Prints each as it comes: there may be more than memory holds."""
    if not as_json:
        writer = TsvWriter(model.card, columns_first=True)
        for row in rows:
            print(writer.rows([row]).decode(), end="", flush=True)
        return
    print(f'{{"model": {_json(model.card.key)}, "dimension": {model.card.dimension}, "vectors": [', end="")
    between = "\n"
    for row in rows:
        assert row.embedding is not None  # noqa: S101 - for mypy
        # str() writes the fewest digits that identify a float32.
        vector = [float(str(number)) for number in row.embedding]
        print(between, _json({"name": row.name, "vector": vector}), sep="", end="")
        between = ",\n"
    print(f'\n], "skipped": {_json(skips.as_json)}}}')


def _parse_tokens(texts: list[str]) -> list[int]:
    try:
        numbers = [int(number) for text in texts for number in text.replace(",", " ").split()]
    except ValueError as error:
        raise BadInput("Tokens are numbers, such as 320 2368; give texts without --decode.") from error
    if any(not 0 <= number <= END for number in numbers):
        raise BadInput(f"CLIP's tokens are numbers from 0 to {END}.")
    return numbers
