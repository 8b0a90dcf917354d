"""The GPU benchmark, run on the CPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu
from benchmarks.material import PHOTOS
from benchmarks.scale import Scale

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU.")


def test_without_a_gpu_it_is_skipped() -> None:
    outcome = gpu.run(Scale())
    assert outcome.skipped == gpu.NO_GPU
    assert not outcome.figures


@pytest.mark.parametrize("scale", [Scale(quick=True), Scale(device="cpu")])
def test_all_of_it_runs_on_the_cpu(scale: Scale) -> None:
    outcome = gpu.run(scale)
    names = [figure.name for figure in outcome.figures]
    assert names[:2] == ["images", "arithmetic"]
    assert len(names) == (4 if PHOTOS.is_dir() else 2)
    assert all("means nothing" in figure.note for figure in outcome.figures)
    assert all(figure.value > 0 for figure in outcome.figures)
    assert not any(against.met(1.0) is not None for figure in outcome.figures for against in figure.against)
