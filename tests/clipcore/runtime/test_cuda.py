"""A model on a real GPU. The runtime's CUDA code cannot be tested without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipcore.model import ClipModel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU.")


@pytest.fixture
def model(tiny_directory: Path) -> ClipModel:
    return ClipModel.load(str(tiny_directory), device="cuda", precision="fp32", local_only=True)


@pytest.mark.parametrize("count", [1, 5, 300])
def test_a_gpu_gives_the_vectors_of_the_cpu(model, tiny, count):
    edge = model.card.input_size
    noise = np.random.default_rng(count)
    first, second = (noise.integers(0, 256, (count, edge, edge, 3), np.uint8) for _ in range(2))
    vectors = model.encode_prepared(first)
    model.encode_prepared(second)  # must not overwrite the vectors of the first
    np.testing.assert_allclose(vectors, tiny.encode_prepared(first), atol=1e-3)
    np.testing.assert_allclose(model.encode_texts(["a cat"]), tiny.encode_texts(["a cat"]), atol=1e-3)


def test_weights_may_be_moved(model, tiny):
    batch = np.zeros((3, model.card.input_size, model.card.input_size, 3), np.uint8)
    for device in ("cuda", "cpu", "cuda"):
        model.towers.module.to(device)
        np.testing.assert_allclose(model.encode_prepared(batch), tiny.encode_prepared(batch), atol=1e-3)
