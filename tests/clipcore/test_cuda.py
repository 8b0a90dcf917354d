"""The pipeline on a real GPU; everywhere else test_pipelined.py shows the same on the CPU."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch

from clipcore.model import ClipModel
from clipcore.runtime.cuda import PipelinedForward

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU.")


@pytest.fixture
def model(tiny_directory: Path) -> ClipModel:
    return ClipModel.load(str(tiny_directory), device="cuda", precision="fp32", local_only=True)


def batches(model: ClipModel) -> list[np.ndarray]:
    edge = model.card.input_size
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (count, edge, edge, 3), np.uint8) for count in (1, 5, 8, 1, 5, 8, 300, 3) * 4]


def check(model: ClipModel, expected: ClipModel) -> None:
    """Always with one begun ahead."""
    waiting: deque = deque()
    for batch in [*batches(model), None]:
        if batch is not None:
            waiting.append((batch, model.begin_prepared(batch)))
        if batch is None or len(waiting) > 1:
            begun, pending = waiting.popleft()
            np.testing.assert_allclose(pending(), expected.encode_prepared(begun), atol=1e-3)


def test_a_gpu_gives_the_vectors_of_the_cpu_and_records_every_size(model, tiny, caplog):
    check(model, tiny)
    assert isinstance(model._forward, PipelinedForward)
    assert all(size.recorded for size in model._forward._sizes.values())
    assert not caplog.records


def test_words_are_encoded_beside_images_under_way(model, tiny):
    batch = batches(model)[2]
    pending = model.begin_prepared(batch)
    np.testing.assert_allclose(model.encode_texts(["a cat"]), tiny.encode_texts(["a cat"]), atol=1e-3)
    np.testing.assert_allclose(pending(), tiny.encode_prepared(batch), atol=1e-3)


def test_what_was_recorded_is_forgotten_when_the_weights_move(model, tiny):
    check(model, tiny)
    model.towers.module.double()
    model.towers.module.float()
    check(model, tiny)
    model.towers.module.cpu()
    check(model, tiny)
