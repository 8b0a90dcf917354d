"""Encodes texts, images and folders of images, in the order in which they were given on the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, tee
from pathlib import Path
from typing import Any

from clipcore.batching import DEFAULT_BATCH_SIZE, encode_texts
from clipcore.encoding.batch import EncodedImage, ImageSource, Problem, encode_sources
from clipcore.encoding.resumable import check_output, file_identity
from clipcore.encoding.writers import EncodedRow, VectorFormat, Written, check_format, write_rows, writer_for
from clipcore.errors import BadInput, TextNotSupported
from clipcore.images.formats import has_image_suffix
from clipcore.images.walk import image_files
from clipcore.types import Encoder


@dataclass(frozen=True, slots=True)
class Input:
    """name: an image's path, or a text, and then `image` is None."""

    name: str
    image: Path | None = None


def inputs_of(arguments: Sequence[str]) -> list[Input]:
    """An argument that exists on disk is an image or a folder of images; anything else is a text. Raises BadInput for
    an empty argument, and for one that looks like a path but does not exist.
    """
    return [each for argument in arguments for each in _inputs(argument)]


def lines_of(text: str) -> list[Input]:
    """One text a line; blank lines are skipped."""
    return [Input(line.strip()) for line in text.split("\n") if line.strip()]


def check_texts(model: Encoder, inputs: Iterable[Input]) -> None:
    """Checks before any work that the model can encode the inputs. Raises TextNotSupported where there are texts and
    the model has no text encoder.
    """
    if not model.card.reads_text and any(each.image is None for each in inputs):
        raise TextNotSupported(model.card.id)


def encode_inputs(
    model: Encoder, inputs: Iterable[Input], *, batch_size: int = DEFAULT_BATCH_SIZE
) -> Iterator[EncodedRow]:
    """Yields one row for each input, in order; its one column is the name. Memory: a few batches.

    Raises TextNotSupported for a text where the model has no text encoder, and what the model raises.
    """
    for are_images, run in groupby(inputs, key=lambda each: each.image is not None):
        encode = _encode_images if are_images else _encode_texts
        yield from encode(model, run, batch_size)


def write_inputs(
    model: Encoder,
    inputs: Sequence[Input],
    output: Path,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    force: bool = False,
    progress: Callable[[Sequence[Input]], Iterable[Input]] = iter,
    on_problem: Callable[[Problem], object] = lambda problem: None,
) -> Written:
    """Encodes the inputs into a file whose ending names the format; skipped inputs have no row. Resumable.

    `.npy`: float32 [n, dim], with a list of names in `.names.json` beside it. `.safetensors`: `vectors`, with `names`
    in the metadata. `.tsv`: the name, then the numbers. `.parquet`: `vector` and `name`. Memory: the inputs and a few
    batches; for `.safetensors` all embeddings at the end.

    on_problem: called for each skipped input, those of earlier runs first. Raises BadInput where the output exists,
    unless `force`.
    """
    format = check_vector_file(output, force=force)
    job = {"model": model.card.key, "format": format, "inputs": _fingerprint(inputs)}

    def encode(taken: int) -> Iterator[EncodedRow]:
        return encode_inputs(model, progress(inputs[taken:]), batch_size=batch_size)

    def names(problems: Sequence[Problem]) -> list[str]:
        skipped = {problem.name for problem in problems}
        # A text is never skipped, though it may read like the path of an image that was.
        return [each.name for each in inputs if each.image is None or each.name not in skipped]

    writer = writer_for(format, model.card, ["name"], columns_first=True)
    return write_rows(
        output,
        writer,
        job,
        encode,
        batch_size=batch_size,
        keep_skipped=False,
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


def _encode_images(model: Encoder, inputs: Iterable[Input], batch_size: int) -> Iterator[EncodedRow]:
    sources = (ImageSource(each.name, ImageSource.file(each.image).read) for each in inputs if each.image)
    for outcome in encode_sources(model, sources, batch_size=batch_size):
        name = outcome.source.name
        if isinstance(outcome, EncodedImage):
            yield EncodedRow(name, outcome.embedding, (name,))
        else:
            yield EncodedRow(name, None, (name,), outcome.reason)


def _encode_texts(model: Encoder, inputs: Iterable[Input], batch_size: int) -> Iterator[EncodedRow]:
    names, texts = tee(each.name for each in inputs)
    for name, embedding in zip(names, encode_texts(model, texts, batch_size=batch_size), strict=True):
        yield EncodedRow(name, embedding, (name,))


def _fingerprint(inputs: Sequence[Input]) -> str:
    """Identifies the inputs and the states of their files."""
    digest = hashlib.sha256()
    for each in inputs:
        digest.update(json.dumps(_identity(each)).encode() + b"\n")
    return digest.hexdigest()


def _identity(each: Input) -> Any:  # noqa: ANN401 - JSON
    try:
        return each.name if each.image is None else file_identity(each.image)
    except OSError:
        return each.name  # removed since; it will be skipped
