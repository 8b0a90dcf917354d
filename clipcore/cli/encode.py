"""`clipcore encode`: words and pictures into vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcore.cli.options import BATCH_SIZE, DEFAULT_MODEL_NAME, BatchSize, Device, Json, Model, load_model
from clipcore.cli.outcome import Skips, print_json
from clipcore.cli.progress import tracked
from clipcore.cli.texts import TextsFile, read_texts
from clipcore.encode_inputs import Input, check_words, encode_inputs, inputs_of, lines_of
from clipcore.encoded_file import as_line, check_encoded, write_encoded
from clipcore.errors import BadInput
from clipcore.types import Vectors

if TYPE_CHECKING:
    from clipcore.model import ClipModel


def register(app: typer.Typer) -> None:
    app.command("encode")(encode)


def encode(
    things: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS|PICTURE|FOLDER", help="In any order; a folder stands for its pictures."),
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
    """Turn words and pictures into vectors of unit length, one row each; their names lie beside them.

    Names: the first column of .tsv, the metadata of .safetensors, a .names.json beside .npy. Pictures that cannot be
    read are named on stderr and have no row. The same command goes on with an output that was stopped.
    """
    inputs = [*inputs_of(things or []), *(lines_of(read_texts(texts)) if texts is not None else [])]
    if not inputs:
        raise BadInput("There is nothing to encode; give words, pictures, folders, or --texts FILE.")
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
