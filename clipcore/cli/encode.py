"""`clipcore encode`: words and images into vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.cli.options import (
    BATCH_SIZE,
    DEFAULT_MODEL_NAME,
    BatchSize,
    Device,
    Json,
    Model,
    TextsFile,
    load_model,
    read_texts,
)
from clipcore.cli.output import Skips, print_json, tracked
from clipcore.encoding.inputs import Input, check_words, encode_inputs, inputs_of, lines_of
from clipcore.encoding.writers import as_line, check_encoded, write_encoded
from clipcore.errors import BadInput
from clipcore.types import Vectors

if TYPE_CHECKING:
    from clipcore.model import ClipModel
from clipcore.encoding.tables import Choice, Kind, parse_schema
from clipcore.encoding.writers import Output, check, extract
from clipcore.models.tokenizers import CONTEXT_LENGTH, END, TokenIds, text_of, token_ids


def register(app: typer.Typer) -> None:
    app.command("encode")(encode)


def encode(
    things: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS|IMAGE|FOLDER", help="In any order; a folder stands for its images."),
    ] = None,
    texts: TextsFile = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .npy, .safetensors or .tsv file; left out, TSV on stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there.")] = False,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Turn words and images into vectors of unit length, one row each; their names lie beside them.

    Names: the first column of .tsv, the metadata of .safetensors, a .names.json beside .npy. Images that cannot be
    read are named on stderr and have no row. The same command goes on with an output that was stopped.
    """
    inputs = [*inputs_of(things or []), *(lines_of(read_texts(texts)) if texts is not None else [])]
    if not inputs:
        raise BadInput("There is nothing to encode; give words, images, folders, or --texts FILE.")
    if output is not None:
        check_encoded(output, force=force)
    loaded = load_model(model, device)
    check_words(loaded, inputs)
    if output is None:
        return _show(loaded, inputs, batch_size, as_json)
    skips = Skips()
    written = write_encoded(
        loaded,
        inputs,
        output,
        batch_size=batch_size,
        force=force,
        watch=_tracked,
        tell=lambda problem: skips.add(problem.name, problem.reason),
    )
    if as_json:
        about = {"model": loaded.card.key, "dimension": loaded.card.dimension, "output": str(output)}
        told = {"encoded": written.encoded, "resumed_at": written.resumed_at, "skipped": skips.as_json()}
        print_json(about | told)
    else:
        print(f"{written.encoded} vectors of {loaded.card.dimension} dimensions in {output}")
    return skips.exit_code


def _show(model: ClipModel, inputs: Sequence[Input], batch_size: int, as_json: bool) -> int:
    skips = Skips()
    outcomes = skips.watch(encode_inputs(model, _tracked(inputs), batch_size=batch_size))
    rows = ((done.name, done.vector) for done in outcomes if done.vector is not None)
    if as_json:
        _print_json(model, rows, skips)
    else:
        for name, vector in rows:
            print(as_line(name, vector), flush=True)
    return skips.exit_code


def _print_json(model: ClipModel, rows: Iterator[tuple[str, Vectors]], skips: Skips) -> None:
    """One document, a vector a line, each printed as it comes: there may be more than memory holds."""
    print(f'{{"model": {_json(model.card.key)}, "dimension": {model.card.dimension}, "vectors": [', end="")
    between = "\n"
    for name, vector in rows:
        # As few digits as tell one float32 from every other.
        print(between, _json({"name": name, "vector": [float(str(number)) for number in vector]}), sep="", end="")
        between = ",\n"
    print(f'\n], "skipped": {_json(skips.as_json())}}}')


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tracked(inputs: Sequence[Input]) -> Iterator[Input]:
    return tracked(inputs, "encoding", len(inputs))


_PIPE = Path("-")
_SUFFIXES = {".tsv": Output.TSV, ".npy": Output.NPY, ".parquet": Output.PARQUET}


def register_extract(app: typer.Typer) -> None:
    app.command("extract")(extract_features)


def extract_features(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A TSV of texts or base64 images; - for stdin.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .tsv, .npy or .parquet file; - is stdout, for TSV and without --json."),
    ] = _PIPE,
    column: Annotated[str | None, typer.Option(help="Which to encode: a name, or a number from 1.")] = None,
    kind: Annotated[Kind, typer.Option(help="What it holds; auto tells base64 images from texts.")] = Kind.AUTO,
    append: Annotated[str, typer.Option(help="Columns to write behind the features, as in id,label.")] = "",
    input_schema: Annotated[
        str, typer.Option(help="Names for the columns, as in text:str:1,image:str:1; types are not looked at.")
    ] = "",
    header: Annotated[bool, typer.Option("--header", help="The first row names the columns.")] = False,
    form: Annotated[
        Output | None, typer.Option("--format", help="Else by the output's ending; another one needs it.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Images decoded at a time.")] = 2,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there.")] = False,
    model: Model = DEFAULT_MODEL_NAME,
    device: Device = "auto",
    batch_size: BatchSize = BATCH_SIZE,
    as_json: Json = False,
) -> int:
    """Write one row of features for each line of the table, tab-separated, in constant memory.

    Rows stay in line: a broken or blank one is named on stderr and its features are empty (nan in .npy, null in
    .parquet); blank lines at the very end are none.
    The same command goes on with an output that was stopped, unless stdin or stdout is one of its ends.
    """
    to_pipe = output == _PIPE
    form = form or (Output.TSV if to_pipe else _SUFFIXES.get(output.suffix.lower()))
    if form is None:
        raise BadInput(f"What {str(output)!r} should hold is not clear; add --format tsv, npy or parquet.")
    if to_pipe and (as_json or form is not Output.TSV):
        raise BadInput("Only TSV goes to stdout; add --output FILE for --json or another --format.")
    names = parse_schema(input_schema) if input_schema else ()
    choice = Choice(column, kind, tuple(name for name in append.split(",") if name), names, header)
    source, target = None if table == _PIPE else table, None if to_pipe else output
    check(source, target, choice, form, force=force)
    skips = Skips()
    done = extract(
        load_model(model, device),
        source,
        target,
        choice,
        form,
        batch_size=batch_size,
        workers=workers,
        force=force,
        watch=lambda rows: skips.watch(tracked(rows, "encoding")),
    )
    skips.problems(done.problems[: len(done.problems) - len(skips.names_and_reasons)])
    if as_json:
        told = {"output": str(output), "rows": done.rows, "dimension": done.dimension, "resumed_at": done.resumed_at}
        print_json(told | {"skipped": skips.as_json()})
    elif not to_pipe:
        print(f"{done.rows} rows of {done.dimension} dimensions in {output}")
    return skips.exit_code


def register_tokenize(app: typer.Typer) -> None:
    app.command("tokenize")(tokenize)


def tokenize(
    given: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; with --decode, tokens.")] = None,
    texts_file: TextsFile = None,
    context_length: Annotated[
        int, typer.Option("--context-length", min=2, help="Tokens a text may have, both marks included.")
    ] = CONTEXT_LENGTH,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut what is longer instead of refusing it.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="The other way: tokens into words.")] = False,
    as_json: Json = False,
) -> None:
    """Show CLIP's tokens, one text a line: 49406, the text, 49407. Works without any model."""
    texts = [*(given or []), *(each.name for each in (lines_of(read_texts(texts_file)) if texts_file else []))]
    if not texts:
        raise typer.BadParameter("Give texts, or --texts FILE.")
    if decode:
        words = text_of(_numbers(texts))
        print_json({"text": words}) if as_json else print(words)
        return
    rows = token_ids(texts, context_length, truncate=truncate)
    if as_json:
        told = [{"text": text, "tokens": _used(row)} for text, row in zip(texts, rows, strict=True)]
        print_json({"context_length": context_length, "texts": told})
        return
    for row in rows:
        print(*_used(row))


def _used(row: TokenIds) -> list[int]:
    """Without the zeros behind the end mark, which stands last even where the text itself holds one."""
    last = len(row) - 1 - row[::-1].tolist().index(END)
    used: list[int] = row[: last + 1].tolist()
    return used


def _numbers(texts: list[str]) -> list[int]:
    try:
        numbers = [int(number) for text in texts for number in text.replace(",", " ").split()]
    except ValueError as error:
        raise BadInput("Tokens are numbers, such as 320 2368; give texts without --decode.") from error
    if any(not 0 <= number <= END for number in numbers):
        raise BadInput(f"CLIP's tokens are numbers from 0 to {END}.")
    return numbers
