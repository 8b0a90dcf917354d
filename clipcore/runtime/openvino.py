"""OpenVINO, an optional extra: the fastest way to run an image tower on a CPU that we measured (benchmarks/NOTES.md).

The tower, with pixel normalisation before it and vector normalisation after it, is traced once and compiled for this
CPU. Nothing is written to disk. The compiled model shares the weights' memory, so they must not be changed afterwards.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from clipcore.runtime.torch import ImageForward, unit_length
from clipcore.types import Pixels, Vectors

if TYPE_CHECKING:
    from openvino import CompiledModel

ImageFeatures = Callable[[Tensor], Tensor]
"""Pixels [n, s, s, 3], 0 to 255, on the CPU -> features [n, dim] of any length, with float32 weights."""

_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}

# bf16 rounding turns vectors by far less: measured, a cosine of 0.9999.
_MIN_COSINE = 0.999
# The check uses another batch size than the trace, because a trace may have taken its batch size for a constant.
_TRACED_BATCH, _CHECKED_BATCH = 1, 2


class OpenVinoUnavailable(Exception):
    """OpenVINO cannot run this tower here. The message completes a sentence after "because"."""


def openvino_is_installed() -> bool:
    return find_spec("openvino") is not None


def openvino_forward(features: ImageFeatures, edge: int, precision: torch.dtype) -> ImageForward:
    """features: of squares of `edge` pixels. precision: what OpenVINO computes in.

    Raises OpenVinoUnavailable if OpenVINO is not installed, cannot convert the tower, or disagrees with torch.
    """
    if not openvino_is_installed():
        raise OpenVinoUnavailable("it is not installed (pip install openvino)")
    if precision not in _PRECISIONS:
        raise OpenVinoUnavailable(f"it does not compute in {str(precision).removeprefix('torch.')}")
    try:
        request = _compile(features, edge, precision).create_infer_request()

        def forward(batch: Pixels) -> Vectors:
            vectors: Vectors = request.infer([batch])[0]
            return vectors

        cosine = _min_cosine(forward, features, edge)
    except Exception as error:
        # An unknown operation makes the converter raise anything; torch runs every tower.
        raise OpenVinoUnavailable(f"it cannot convert the image tower ({type(error).__name__})") from error
    if not cosine >= _MIN_COSINE:
        raise OpenVinoUnavailable(f"its vectors differ from torch's (cosine {cosine:.4f})")
    return forward


def _compile(features: ImageFeatures, edge: int, precision: torch.dtype) -> CompiledModel:
    import openvino

    pixels = torch.zeros(_TRACED_BATCH, edge, edge, 3, dtype=torch.uint8)
    # OpenVINO converts traces fastest; torch and transformers warn that there are newer ways.
    with warnings.catch_warnings(), torch.no_grad(), _root_logger_restored():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            lambda batch: unit_length(features(batch.float())), pixels, check_trace=False
        )
        model = openvino.convert_model(traced, example_input=pixels)
    config = {
        "PERFORMANCE_HINT": "LATENCY",  # all cores work on one batch
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # follows OMP_NUM_THREADS and `limit_threads`, as torch does
    }
    return openvino.Core().compile_model(model, "CPU", config)


@contextmanager
def _root_logger_restored() -> Iterator[None]:
    """A conversion configures the root logger and, if it fails, leaves it that way."""
    root = logging.getLogger()
    level, filters, handlers = root.level, [*root.filters], [*root.handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _min_cosine(forward: ImageForward, features: ImageFeatures, edge: int) -> float:
    """The lowest cosine between OpenVINO's and torch's vectors of the same random images."""
    batch = np.random.default_rng(0).integers(0, 256, (_CHECKED_BATCH, edge, edge, 3), np.uint8)
    with torch.inference_mode():
        expected = unit_length(features(torch.from_numpy(batch))).numpy()
    return float((forward(batch) * expected).sum(axis=1).min())
