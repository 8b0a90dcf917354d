from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from clipcore.errors import BadInput, ModelUnavailable
from clipcore.model import ClipModel
from clipcore.runtime.torch import find_device, find_dtype
from tests.clipcore.images import noise


def prepared(model: ClipModel, count: int = 2) -> np.ndarray:
    return np.stack([model.prepare(noise(40, 40, number)) for number in range(count)])


def test_weights_may_be_rounded_and_changed_after_loading(tiny):
    model, batch = deepcopy(tiny), prepared(tiny)
    expected = tiny.encode_prepared(batch)
    model.towers.module.to(torch.bfloat16)
    rounded = model.encode_prepared(batch)
    assert not np.array_equal(rounded, expected)
    assert (rounded * expected).sum(axis=1).min() > 0.99
    with torch.no_grad():
        for weight in model.towers.module.parameters():
            weight.mul_(-1)
    assert (model.encode_prepared(batch) * expected).sum(axis=1).max() < 0.9
    assert np.array_equal(tiny.encode_prepared(batch), expected)


def test_an_empty_batch_has_no_vectors(tiny):
    assert tiny.encode_prepared(prepared(tiny)[:0]).shape == (0, tiny.card.dimension)


def test_a_model_on_the_cpu_says_so(tiny):
    assert tiny.runs_on_cpu
    on_meta = deepcopy(tiny)
    on_meta.towers.module.to("meta")
    assert not on_meta.runs_on_cpu


def test_an_unknown_precision_or_backend_is_refused_with_the_choices(tiny_directory):
    with pytest.raises(BadInput, match="choose auto, fp32, bf16 or fp16"):
        ClipModel.load(str(tiny_directory), precision="fp8")
    with pytest.raises(BadInput, match="choose auto, torch or openvino"):
        ClipModel.load(str(tiny_directory), backend="onnx")


def test_an_unknown_device_is_refused():
    with pytest.raises(ModelUnavailable, match="'tpu' cannot be used here"):
        find_device("tpu")


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_each_precision_has_its_dtype(name, dtype):
    assert find_dtype(name, torch.device("cpu")) == dtype
