"""OpenVINO gives torch's vectors, or torch is used instead."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clipcore.errors import ModelUnavailable
from clipcore.model import Backend, ClipModel
from clipcore.runtime.openvino import OpenVinoUnavailable, openvino_forward
from tests.clipcore.families import FAMILIES
from tests.clipcore.images import noise

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")

EDGE = 32
WEIGHTS = torch.randn(EDGE * EDGE * 3, 8, generator=torch.Generator().manual_seed(0))


def load(directory: Path, backend: Backend, **options: object) -> ClipModel:
    settings = {"device": "cpu", "precision": "fp32", "local_only": True, **options}
    return ClipModel.load(str(directory), backend=backend, **settings)


def projected(pixels: Tensor) -> Tensor:
    return (pixels.float() / 255 - 0.5).flatten(1) @ WEIGHTS


def squares(count: int, edge: int = EDGE) -> np.ndarray:
    return np.stack([noise(edge, edge, number) for number in range(count)])


@needs_openvino
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_openvino_gives_the_vectors_of_torch_for_every_family(family, tmp_path):
    directory = family.write(tmp_path / family.name)
    theirs, ours = load(directory, "torch"), load(directory, "openvino")
    assert ours.card == theirs.card
    # If torch encoded the images, their vectors would be rounded from now on.
    ours.towers.module.to(torch.bfloat16)
    for count in (1, 5, 3):
        batch = squares(count, theirs.card.input_size)
        expected = theirs.encode_prepared(batch)
        assert expected.std(axis=1).min() > 0.01
        given = ours.encode_prepared(batch)
        assert given.dtype == np.float32
        assert np.allclose(given, expected, atol=1e-5)


@needs_openvino
def test_bf16_vectors_have_the_same_direction(tiny_directory):
    exact, rounded = load(tiny_directory, "torch"), load(tiny_directory, "auto", precision="bf16")
    assert rounded.dtype == "bfloat16"
    batch = squares(4)
    assert (exact.encode_prepared(batch) * rounded.encode_prepared(batch)).sum(axis=1).min() > 0.999
    assert (exact.encode_texts(["a cat"]) * rounded.encode_texts(["a cat"])).sum() > 0.999


@needs_openvino
def test_later_batches_do_not_overwrite_vectors_and_pixels_may_be_read_only():
    forward = openvino_forward(projected, EDGE, torch.float32)
    batch = squares(2)
    batch.setflags(write=False)
    first = forward(batch)
    kept = first.copy()
    forward(squares(3)[1:])
    assert np.array_equal(first, kept)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


@needs_openvino
def test_openvino_is_refused_if_its_vectors_differ_from_torchs():
    def brightness_of_the_traced(pixels: Tensor) -> Tensor:
        return projected(pixels) + 1000 * pixels.float().mean().item()

    with pytest.raises(OpenVinoUnavailable, match=r"vectors differ from torch's \(cosine -?0\.\d"):
        openvino_forward(brightness_of_the_traced, EDGE, torch.float32)


@needs_openvino
def test_openvino_is_refused_if_it_cannot_convert_the_tower():
    def eigenvalues(pixels: Tensor) -> Tensor:
        return torch.linalg.eigvals(pixels[..., 0].float()).real

    root = logging.getLogger()
    before = root.level, [*root.filters], [*root.handlers]
    with pytest.raises(OpenVinoUnavailable, match=r"cannot convert the image tower \(\w+\)$"):
        openvino_forward(eigenvalues, EDGE, torch.float32)
    assert (root.level, root.filters, root.handlers) == before


@needs_openvino
def test_fp16_is_left_to_torch(tiny_directory, caplog):
    with caplog.at_level(logging.WARNING):
        model = load(tiny_directory, "auto", precision="fp16")
    assert "torch encodes images instead of OpenVINO" in caplog.text
    assert model.encode_prepared(squares(1)).shape == (1, model.card.dimension)
    with pytest.raises(ModelUnavailable, match="it does not compute in float16; choose torch: CLIP_BACKEND=torch"):
        load(tiny_directory, "openvino", precision="fp16")


def test_without_openvino_torch_is_used_unless_openvino_is_required(tiny_directory, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        assert load(tiny_directory, "auto").encode_prepared(squares(1)).shape[0] == 1
    assert not caplog.messages
    with pytest.raises(ModelUnavailable) as caught:
        load(tiny_directory, "openvino")
    assert str(caught.value).endswith(
        "because it is not installed (pip install openvino); choose torch: "
        'CLIP_BACKEND=torch for the bot, backend="torch" in code.'
    )


@pytest.mark.parametrize("backend", ["torch", pytest.param("openvino", marks=needs_openvino)])
def test_the_log_names_the_backend(tiny_directory, backend, caplog):
    with caplog.at_level(logging.INFO, "clipcore"):
        load(tiny_directory, backend)
    assert f"loaded on cpu as float32, images encoded by {backend}" in caplog.text


@pytest.mark.parametrize("options", [{"compile": True}, {"device": "meta"}])
def test_openvino_is_refused_for_compiled_towers_and_other_devices(tiny_directory, options):
    with pytest.raises(ModelUnavailable, match="OpenVINO runs models on the CPU, uncompiled"):
        load(tiny_directory, "openvino", **options)
