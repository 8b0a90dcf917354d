"""OpenVINO: on a CPU what looks at images quickest of all that was measured (see benchmarks/). An optional extra.

A tower is traced once, with the normalisation of pixels before it and that of vectors behind it, and compiled for the
processor at hand. Nothing is written to the disk. The memory of the weights is shared and must not be
written to afterwards.
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

from clipcore.runtime.torch import Pending, unit_length
from clipcore.types import Pixels, Vectors

if TYPE_CHECKING:
    from openvino import CompiledModel

Look = Callable[[Tensor], Tensor]
"""[n, s, s, 3], 0 to 255, on the CPU -> [n, dim] of any length; with float32 weights, whatever the precision."""

_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}

# Rounding to bf16 turns vectors by far less: measured, 0.9999.
_SAME_DIRECTION = 0.999
# Another number of images than what is traced, since a trace may have taken its number for a constant.
_TRACED, _CHECKED = 1, 2


class NotRunning(Exception):
    """Why OpenVINO does not look at images here, as the end of a sentence."""


def openvino_is_installed() -> bool:
    return find_spec("openvino") is not None


class OpenVinoForward:
    overlaps = False

    def __init__(self, model: CompiledModel) -> None:
        self._request = model.create_infer_request()

    def begin(self, batch: Pixels) -> Pending:
        vectors: Vectors = self._request.infer([batch])[0]
        return lambda: vectors


def openvino_forward(look: Look, edge: int, precision: torch.dtype) -> OpenVinoForward:
    """look: what a batch of squares of `edge` pixels goes through, with weights on the CPU.

    Raises NotRunning where OpenVINO is not installed, does not know one of the tower's steps, or gives other vectors
    than torch.
    """
    if not openvino_is_installed():
        raise NotRunning("it is not installed (pip install openvino)")
    if precision not in _PRECISIONS:
        raise NotRunning(f"it is not asked for in {str(precision).removeprefix('torch.')}")
    try:
        forward = OpenVinoForward(_compiled(look, edge, precision))
        least = _least_cosine(forward, look, edge)
    except Exception as error:
        # What a converter meets in a tower that it does not know can be anything; torch knows every tower.
        raise NotRunning(f"it could not take the tower over ({type(error).__name__})") from error
    if not least >= _SAME_DIRECTION:
        raise NotRunning(f"its vectors are not those of torch (cosine {least:.4f})")
    return forward


def _compiled(look: Look, edge: int, precision: torch.dtype) -> CompiledModel:
    import openvino

    pixels = torch.zeros(_TRACED, edge, edge, 3, dtype=torch.uint8)
    # Tracing is what OpenVINO converts from quickest; torch and transformers warn that there are newer ways.
    with warnings.catch_warnings(), torch.no_grad(), _logging_kept():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            lambda batch: unit_length(look(batch.float())), pixels, check_trace=False
        )
        model = openvino.convert_model(traced, example_input=pixels)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",  # all cores at one batch
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # one rule for both, OMP_NUM_THREADS among it
    }
    return openvino.Core().compile_model(model, "CPU", settings)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """A conversion sets the root logger up for itself and, where it fails, leaves it so."""
    root = logging.getLogger()
    level, filters, handlers = root.level, [*root.filters], [*root.handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _least_cosine(forward: OpenVinoForward, look: Look, edge: int) -> float:
    batch = np.random.default_rng(0).integers(0, 256, (_CHECKED, edge, edge, 3), np.uint8)
    with torch.inference_mode():
        expected = unit_length(look(torch.from_numpy(batch))).numpy()
    return float((forward.begin(batch)() * expected).sum(axis=1).min())
