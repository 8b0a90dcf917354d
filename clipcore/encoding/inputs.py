"""Encodes texts, images and folders of images, in the order in which they were given on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clipcore.batching import DEFAULT_BATCH_SIZE
from clipcore.encoding.batch import OnProblem, Problem, RowSource, encode_rows
from clipcore.encoding.resumable import Progress, check_output, file_identity, fingerprint
from clipcore.encoding.writers import WRITERS, VectorFormat, Written, check_format, write_rows
from clipcore.errors import BadInput, TextNotSupported
from clipcore.files import read_regular
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files
from clipcore.types import Encoder


def inputs_of(arguments: Iterable[str]) -> list[RowSource]:
    """An argument that exists on disk is an image or a folder of images; anything else is a text. Each has one column,
    its name: the path or the text. Raises BadInput for an empty argument, and for one that looks like
    a path but does not exist.
    """
    return [each for argument in arguments for each in _inputs(argument)]


def lines_of(text: str) -> list[RowSource]:
    """One text a line; blank lines are skipped."""
    return [_text(line.strip()) for line in text.split("\n") if line.strip()]


def check_texts(model: Encoder, inputs: Iterable[RowSource]) -> None:
    """Raises TextNotSupported, before any work, where there are texts and the model has no text encoder."""
    if not model.card.reads_text and any(each.image is None for each in inputs):
        raise TextNotSupported(model.card.id)


def write_inputs(
    model: Encoder,
    inputs: Sequence[RowSource],
    output: Path,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    force: bool = False,
    progress: Progress = iter,
    on_problem: OnProblem = lambda problem: None,
) -> Written:
    """Encodes the inputs into a file whose ending names the format; skipped inputs have no row. Resumable.

    The names are the first column of `.tsv` and the column `name` of `.parquet`; for the others see their `Writer`.
    Memory: the inputs and a few batches; for `.safetensors` all embeddings at the end.

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
        lambda taken: encode_rows(model, progress(inputs[taken:]), batch_size=batch_size),
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


def _inputs(argument: str) -> list[RowSource]:
    if not argument.strip():
        raise BadInput("One of the texts is empty; give a text, an image or a folder.")
    name = os.path.expanduser(argument)  # noqa: PTH111 - a text may begin with ~, which pathlib takes for a user's
    try:
        exists, is_folder = Path(name).exists(), Path(name).is_dir()
    except OSError:  # too long for a file name: a text
        exists, is_folder = False, False
    if is_folder:
        return [_image(str(file)) for file in image_files(Path(name))]
    if exists:
        return [_image(name)]
    if argument.startswith(("./", "../", "/", "~/")) or (" " not in argument and has_image_suffix(argument)):
        raise BadInput(f"There is no file {argument!r}; check the path, or give another text.")
    return [_text(argument)]


def _text(text: str) -> RowSource:
    return RowSource(text, (text,), text=text)


def _image(name: str) -> RowSource:
    return RowSource(name, (name,), image=partial(read_regular, Path(name)))


def _identity(each: RowSource) -> Any:  # noqa: ANN401 - JSON
    try:
        return each.name if each.image is None else file_identity(Path(each.name))
    except OSError:
        return each.name  # removed since; it will be skipped
