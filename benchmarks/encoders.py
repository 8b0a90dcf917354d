"""Alternatives for encoding images: each backend's forward pass, and the usual code with other libraries.

All take the same images and weights. One that is not installed, or does not work here, is None.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, CLIPImageProcessorPil

from clipcore.model import ClipModel
from clipcore.types import Pixels

Step = Callable[[], object]

# The usual size in examples. The engine chooses its own.
BATCH = 32


def torch_forward(model: ClipModel, batch: Pixels) -> Step:
    """transformers' tower, all layers in full, on normalised floats."""
    pixels = model.as_input(batch).to(next(model.towers.module.parameters()).dtype)

    def step() -> None:
        with torch.inference_mode():
            model.towers.image_features(pixels)

    return step


def compiled_forward(directory: str, batch: Pixels) -> Step | None:
    """The same after torch.compile, which needs a C++ compiler."""
    if shutil.which("g++") is None:
        return None
    with _warnings_ignored():
        model = ClipModel.load(directory, device="cpu", local_only=True)
        pixels = model.as_input(batch).to(next(model.towers.module.parameters()).dtype)
        features = torch.compile(model.towers.image_features)

        def step() -> None:
            with torch.inference_mode():
                features(pixels)

        step()
    return step


def model_forward(model: ClipModel, batch: Pixels) -> Step:
    """Our own path from prepared images to vectors, with the backend that the model was loaded for."""
    return lambda: model.encode_prepared(batch)


def onnx_forward(model: ClipModel, batch: Pixels, folder: Path) -> Step | None:
    """ONNX Runtime in fp32, because it has no bf16 on a CPU. model: in fp32."""
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        return None
    import onnxruntime

    pixels, path = model.as_input(batch), folder / "vision.onnx"
    with _warnings_ignored():
        torch.onnx.export(_Vision(model), (pixels,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: pixels.numpy()}
    return lambda: session.run(None, inputs)


class _Vision(torch.nn.Module):
    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.module = model.towers.module
        self.features = model.towers.image_features

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.features(pixels)


def transformers_loop(directory: str, images: Sequence[Pixels], size: int) -> Step:
    """Its processor and its model in fp32, batches of this size, from RGB arrays to vectors of unit length."""
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    processor = CLIPImageProcessorPil.from_pretrained(directory)

    def step() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), size):
                inputs = processor(images=list(images[start : start + size]), return_tensors="pt")
                features = model.get_image_features(**inputs).pooler_output
                torch.nn.functional.normalize(features, dim=-1).numpy()

    return step


def sentence_transformers_loop(directory: str, images: Sequence[Pixels]) -> Step | None:
    """Its `encode` with default settings, on Pillow images: fp32, batches of 32."""
    if find_spec("sentence_transformers") is None:
        return None
    with _warnings_ignored():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(directory, device="cpu", local_files_only=True)
    pil_images = [Image.fromarray(pixels) for pixels in images]

    def step() -> None:
        with _warnings_ignored():
            model.encode(pil_images, normalize_embeddings=True, show_progress_bar=False)

    return step


def squares(model: ClipModel, images: Sequence[Pixels]) -> Pixels:
    """uint8 [n, s, s, 3]"""
    return np.stack([model.prepare(pixels) for pixels in images])


@contextmanager
def _warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
