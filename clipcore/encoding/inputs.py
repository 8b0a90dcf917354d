"""Words, images and folders of images, in the order in which they were named -> vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, tee
from pathlib import Path

from clipcore.datasets.files import has_image_suffix, image_files
from clipcore.encoding.batch import EncodedImage, ImageSource, encode_images, encode_words
from clipcore.errors import BadInput, TextNotSupported
from clipcore.files import read_regular
from clipcore.types import Encoder, Vectors


@dataclass(frozen=True, slots=True)
class Input:
    """name: an image's path, or the words themselves, and then there is no image."""

    name: str
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """vector: float32 [dim], unit length; None where an image was skipped, and then `reason` is a sentence."""

    name: str
    vector: Vectors | None
    reason: str = ""


def inputs_of(arguments: Sequence[str]) -> list[Input]:
    """What lies on the disk is an image or a folder of them; all else is words. Raises BadInput for what looks like a
    path and is none.
    """
    return [found for argument in arguments for found in _inputs(argument)]


def lines_of(text: str) -> list[Input]:
    """One text a line; blank lines are none."""
    return [Input(line.strip()) for line in text.split("\n") if line.strip()]


def encode_inputs(model: Encoder, inputs: Iterable[Input], *, batch_size: int) -> Iterator[Encoded]:
    """One outcome an input, in their order. Memory: a few batches. Raises TextNotSupported where there are words and
    the model sees images alone, and what the model raises.
    """
    for are_images, run in groupby(inputs, key=lambda each: each.image is not None):
        if are_images:
            yield from _encode_images(model, run, batch_size)
        else:
            yield from _encode_texts(model, run, batch_size)


def check_words(model: Encoder, inputs: Iterable[Input]) -> None:
    """Before hours of images, not after them. Raises TextNotSupported as `encode_inputs` would."""
    if not model.card.reads_text and any(each.image is None for each in inputs):
        raise TextNotSupported(model.card.id)


def _inputs(argument: str) -> Iterator[Input]:
    path = Path(argument).expanduser() if argument.startswith("~") else Path(argument)
    try:
        there, is_folder = path.exists(), path.is_dir()
    except OSError:  # too long for a name: words
        there, is_folder = False, False
    if is_folder:
        yield from (Input(str(file), file) for file in image_files(path))
    elif there:
        yield Input(argument, path)
    elif argument.startswith(("./", "../", "/", "~/")) or (" " not in argument and has_image_suffix(argument)):
        raise BadInput(f"There is no file {argument!r}; check the path, or give other words.")
    elif not argument.strip():
        raise BadInput("One of the texts is empty; give words, images or folders.")
    else:
        yield Input(argument)


def _encode_images(model: Encoder, inputs: Iterable[Input], batch_size: int) -> Iterator[Encoded]:
    sources = (ImageSource(each.name, partial(read_regular, each.image)) for each in inputs if each.image)
    for outcome in encode_images(model, sources, batch_size=batch_size):
        if isinstance(outcome, EncodedImage):
            yield Encoded(outcome.source.name, outcome.vector)
        else:
            yield Encoded(outcome.source.name, None, outcome.reason)


def _encode_texts(model: Encoder, inputs: Iterable[Input], batch_size: int) -> Iterator[Encoded]:
    names, texts = tee(each.name for each in inputs)
    for name, vector in zip(names, encode_words(model, texts, batch_size=batch_size), strict=True):
        yield Encoded(name, vector)
