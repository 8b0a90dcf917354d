"""Passes texts and prepared images through a model in batches that fit the device's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np

from clipcore.errors import BadInput, EncodingFailed
from clipcore.types import Encoder, Pixels, Vectors

DEFAULT_BATCH_SIZE = 32

Batch = TypeVar("Batch", Pixels, list[str])
T = TypeVar("T")


def encode_texts(model: Encoder, texts: Iterable[str], *, batch_size: int = DEFAULT_BATCH_SIZE) -> Iterator[Vectors]:
    """Yields one embedding for each text, in order: float32 [dim], unit length.

    Raises BadInput for a batch size below 1, EncodingFailed where the device has too little memory for a single text,
    and what the model raises.
    """
    for batch in batches_of(texts, batch_size):
        yield from encode_halving(model.encode_texts, batch)


def batches_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Splits the items into lists of `size`; the last one may be shorter. Raises BadInput for a size below 1."""
    if size < 1:
        raise BadInput(f"The batch size is {size}; it must be at least 1.")
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def encode_halving(encode: Callable[[Batch], Vectors], batch: Batch) -> Vectors:
    """Encodes a batch; one that does not fit the device's memory is halved until it does."""
    try:
        return encode(batch)
    except MemoryError as error:
        if len(batch) == 1:
            raise EncodingFailed(
                "The device has too little memory for a batch of one; choose another device or a smaller model."
            ) from error
    middle = len(batch) // 2
    return np.concatenate([encode_halving(encode, batch[:middle]), encode_halving(encode, batch[middle:])])
