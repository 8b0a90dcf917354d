"""`clipcore extract`: the features of a table's column, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.outcome import Skips, print_json
from clipcore.cli.progress import tracked
from clipcore.errors import BadInput
from clipcore.extract import Choice, Kind, Output, check, extract, parse_schema

_PIPE = Path("-")
_SUFFIXES = {".tsv": Output.TSV, ".npy": Output.NPY, ".parquet": Output.PARQUET}


def register(app: typer.Typer) -> None:
    app.command("extract")(extract_features)


def extract_features(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A TSV of texts or base64 pictures; - for stdin.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .tsv, .npy or .parquet file; - is stdout, for TSV and without --json."),
    ] = _PIPE,
    column: Annotated[str | None, typer.Option(help="Which to encode: a name, or a number from 1.")] = None,
    kind: Annotated[Kind, typer.Option(help="What it holds; auto tells base64 pictures from texts.")] = Kind.AUTO,
    append: Annotated[str, typer.Option(help="Columns to write behind the features, as in id,label.")] = "",
    input_schema: Annotated[
        str, typer.Option(help="Names for the columns, as in text:str:1,image:str:1; types are not looked at.")
    ] = "",
    header: Annotated[bool, typer.Option("--header", help="The first row names the columns.")] = False,
    form: Annotated[
        Output | None, typer.Option("--format", help="Else by the output's ending; another one needs it.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Pictures decoded at a time.")] = 2,
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
