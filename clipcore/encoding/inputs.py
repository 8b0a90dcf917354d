"""Encodes texts, images and folders of images, in the order in which they were given on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.encoding.batch import EncodedRow, OnProblem, Problem, RowSource, encode_rows
from clipcore.encoding.resumable import Progress, check_output, file_identity, fingerprint
from clipcore.encoding.writers import WRITERS, VectorFormat, Written, check_format, write_rows
from clipcore.errors import BadInput, TextNotSupported
from clipcore.files import read_regular
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files
from clipcore.types import Encoder


@dataclass(frozen=True, slots=True)
class Input:
    """name: an image's path, or a text, and then `image` is None."""

    name: str
    image: Path | None = None


def inputs_of(arguments: Iterable[str]) -> list[Input]:
    """An argument that exists on disk is an image or a folder of images; anything else is a text. Raises BadInput for
    an empty argument, and for one that looks like a path but does not exist.
    """
    return [each for argument in arguments for each in _inputs(argument)]


def lines_of(text: str) -> list[Input]:
    """One text a line; blank lines are skipped."""
    return [Input(line.strip()) for line in text.split("\n") if line.strip()]


def check_texts(model: Encoder, inputs: Iterable[Input]) -> None:
    """Raises TextNotSupported, before any work, where there are texts and the model has no text encoder."""
    if not model.card.reads_text and any(each.image is None for each in inputs):
        raise TextNotSupported(model.card.id)


def encode_inputs(
    model: Encoder, inputs: Iterable[Input], *, batch_size: int = DEFAULT_BATCH_SIZE
) -> Iterator[EncodedRow]:
    """As `encode_rows`; each row has one column, the name."""
    return encode_rows(model, map(_source, inputs), batch_size=batch_size)


def write_inputs(
    model: Encoder,
    inputs: Sequence[Input],
    output: Path,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    force: bool = False,
    progress: Progress = iter,
    on_problem: OnProblem = lambda problem: None,
) -> Written:
    """Encodes the inputs into a file whose ending names the format; skipped inputs have no row. Resumable.

    `.npy`: float32 [n, dim], with a list of names in `.names.json` beside it. `.safetensors`: `vectors`, with `names`
    in the metadata. `.tsv`: the name, then the numbers. `.parquet`: `vector` and `name`. Memory: the inputs and a few
    batches; for `.safetensors` all embeddings at the end.

    on_problem: called for each skipped input, those of earlier runs first. Raises BadInput where the output exists,
    unless `force`.
    """
    format = check_vector_file(output, force=force)

    def names(problems: Sequence[Problem]) -> list[str]:
        skipped = {problem.name for problem in problems}
        # A text is never skipped, though it may read like the path of an image that was.
        return [each.name for each in inputs if each.image is None or each.name not in skipped]

    return write_rows(
        output,
        WRITERS[format](model.card, ["name"], columns_first=True),
        {"model": model.card.key, "format": format, "inputs": fingerprint(map(_identity, inputs))},
        lambda taken: encode_inputs(model, progress(inputs[taken:]), batch_size=batch_size),
        batch_size=batch_size,
        force=force,
        names=names,
        on_problem=on_problem,
    )


def check_vector_file(output: Path, *, force: bool = False) -> VectorFormat:
    """Checks before a model is loaded that the output can be written. Raises BadInput as `write_inputs` does."""
    format = VectorFormat.of(output)
    if format is None:
        raise BadInput(f"{str(output)!r} must end in .npy, .parquet, .safetensors or .tsv, which names the format.")
    check_format(format)
    check_output(output, force=force)
    return format


def _inputs(argument: str) -> Iterator[Input]:
    if not argument.strip():
        raise BadInput("One of the texts is empty; give a text, an image or a folder.")
    path = Path(argument).expanduser() if argument.startswith("~") else Path(argument)
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError:  # too long for a file name: a text
        exists, is_folder = False, False
    if is_folder:
        yield from (Input(str(file), file) for file in image_files(path))
    elif exists:
        yield Input(argument, path)
    elif argument.startswith(("./", "../", "/", "~/")) or (" " not in argument and has_image_suffix(argument)):
        raise BadInput(f"There is no file {argument!r}; check the path, or give another text.")
    else:
        yield Input(argument)


def _source(each: Input) -> RowSource:
    image = None if each.image is None else partial(read_regular, each.image)
    return RowSource(each.name, (each.name,), image, each.name)


def _identity(each: Input) -> Any:  # noqa: ANN401 - JSON
    try:
        return each.name if each.image is None else file_identity(each.image)
    except OSError:
        return each.name  # removed since; it will be skipped
