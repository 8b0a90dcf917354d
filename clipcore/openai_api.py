"""The programming interface of OpenAI's `clip` package, for models of every family: tensors in, tensors out.

model, preprocess = clipcore.load("ViT-B/32")
image = preprocess(Image.open("CLIP.png")).unsqueeze(0)
logits_per_image, logits_per_text = model(image, clipcore.tokenize(["a diagram", "a dog", "a cat"]))
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipcore.errors import BadInput, TextNotSupported
from clipcore.images.preprocess import Preprocessing
from clipcore.model import ClipModel
from clipcore.models.tokenizers import CONTEXT_LENGTH, ClipTokenizer, token_ids
from clipcore.models.towers import Tokens
from clipcore.runtime.torch import find_device


class Loaded(NamedTuple):
    """What `load` returns: `model, preprocess = clipcore.load(...)`."""

    model: TorchClip
    preprocess: Preprocess


def load(
    name: str | os.PathLike[str],
    device: str | torch.device = "auto",
    jit: bool = False,
    download_root: str | os.PathLike[str] | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    compile: bool = False,  # noqa: A002 - torch's own word for it
    local_only: bool = False,
) -> Loaded:
    """name: one of `available_models`, a hub id, a directory or a file. Raises ModelUnavailable.

    jit: ignored with a warning; no file's code is ever run. download_root: a directory that is searched for OpenAI's
    file (`ViT-B-32.pt`) and, where it has none, keeps what is downloaded. dtype: of the weights, `float32`, `bfloat16`
    or `float16`, as text or torch's own, or `auto`: bfloat16 where the hardware has it. By default float32 on a CPU, as
    in `clip.load`, and `auto` elsewhere. compile and local_only: as in `ClipModel.load`.
    """
    if jit:
        warnings.warn("jit is ignored: the model runs as plain PyTorch. compile=True may be faster.", stacklevel=2)
    chosen = find_device(str(device))
    precision = ("float32" if chosen.type == "cpu" else "auto") if dtype is None else str(dtype)
    cache_dir = None if download_root is None else Path(download_root).expanduser()
    name = os.fspath(name)
    # As OpenAI names its files: `ViT-L-14-336px.pt`.
    if cache_dir and (file := cache_dir / f"{name.replace('/', '-').replace('@', '-')}.pt").is_file():
        name = str(file)
    clip = ClipModel.load(
        name,
        device=str(chosen),
        precision=precision.removeprefix("torch."),
        compile=compile,
        local_only=local_only,
        cache_dir=cache_dir,
    )
    model = TorchClip(clip)
    return Loaded(model, model.preprocess)


def tokenize(texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH, truncate: bool = False) -> Tensor:
    """CLIP's tokens, int32 [n, context_length]: 49406, the text, 49407, then zeros.

    truncate: cut longer texts, keeping the end token. Otherwise they raise TextTooLong, a RuntimeError.
    """
    return torch.from_numpy(token_ids(texts, context_length, truncate=truncate))


@dataclass(frozen=True, slots=True)
class Visual:
    """What code for the original reads from `model.visual`: an image's edge in pixels, and the features' dimension."""

    input_resolution: int
    output_dim: int


class TorchClip(nn.Module):
    """A loaded model with the methods of the original's `CLIP`: tensors in, tensors out.

    Features are [n, dim], not of unit length, and differentiable with respect to the images; the weights are frozen
    until `requires_grad_()`. They are float16 where the weights are, as in the original, and float32 otherwise. `clip`
    is the same model with numpy embeddings of unit length, on the same weights; `card` describes it.
    """

    def __init__(self, clip: ClipModel) -> None:
        super().__init__()
        self.clip = clip
        self.card = clip.card
        self.preprocess = Preprocess(replace(clip.preprocessing, rounded_crop=True))
        self.visual = Visual(clip.card.input_size, clip.card.dimension)
        self.context_length = clip.card.context_length
        self.towers = clip.towers.module

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.clip.towers.vision[0].parameters()).dtype

    @property
    def vocab_size(self) -> int:
        """Tokens that the text tower has; 0 in image-only models."""
        modules = (module for part in self.clip.towers.text for module in part.modules())
        return max((module.num_embeddings for module in modules if isinstance(module, nn.Embedding)), default=0)

    @property
    def logit_scale(self) -> Tensor:
        """Its natural logarithm: the parameter that training changes; 0 in image-only models."""
        scale = self.clip.towers.log_scale
        return torch.zeros((), device=self.clip.device) if scale is None else scale

    def tokenize(self, texts: str | Sequence[str]) -> Tokens:
        """What this model's own `encode_text` takes, whatever its family, truncated to its context, on its device.

        Raises TextNotSupported in image-only models.
        """
        return self.clip.as_tokens([texts] if isinstance(texts, str) else texts)

    def encode_image(self, images: Tensor) -> Tensor:
        """images: float [n, 3, s, s], as `preprocess` makes them. Returns [n, dim]."""
        size = self.card.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise BadInput(
                f"encode_image takes a batch of shape [n, 3, {size}, {size}] and got {list(images.shape)}; prepare "
                "images with model.preprocess, and a single one with .unsqueeze(0)."
            )
        return _as_original(self.clip.towers.image_features(images.to(self.clip.device, self.dtype)))

    def encode_text(self, text: Tensor | Tokens) -> Tensor:
        """text: int [n, l] from `clipcore.tokenize` where the model has CLIP's vocabulary, or what `model.tokenize`
        returns. Returns [n, dim]. Raises BadInput, and TextNotSupported in image-only models.
        """
        if not self.card.reads_text:
            raise TextNotSupported(self.card.id)
        tokens = self._from_clip(text) if isinstance(text, Tensor) else text
        on_device = {name: ids.to(self.clip.device) for name, ids in tokens.items()}
        return _as_original(self.clip.towers.text_features(on_device))

    def forward(self, images: Tensor, text: Tensor | Tokens) -> tuple[Tensor, Tensor]:
        """logits_per_image [images, texts] and logits_per_text, its transpose: cosine × logit scale + bias."""
        images, texts = normalize(self.encode_image(images), dim=-1), normalize(self.encode_text(text), dim=-1)
        logits = self.logit_scale.exp() * images @ texts.T + getattr(self.towers, "logit_bias", 0.0)
        return logits, logits.T

    def _from_clip(self, ids: Tensor) -> Tokens:
        """Zeros are the padding. The text is read at its end token, which attends only to what is before it (Radford et
        al. 2021, §2.4), so no mask is needed.
        """
        tokenizer = self.clip.opened.tokenize
        if not (isinstance(tokenizer, ClipTokenizer) and tokenizer.is_clips_own):
            raise BadInput(
                f"The model {self.card.id!r} has a vocabulary of its own; pass what model.tokenize(texts) returns."
            )
        if ids.ndim != 2 or ids.shape[1] > self.card.context_length:
            raise BadInput(
                f"encode_text takes tokens of shape [n, {self.card.context_length}] and got {list(ids.shape)}; make "
                f"them with clipcore.tokenize(texts, context_length={self.card.context_length})."
            )
        return {"input_ids": ids.long()}


def _as_original(features: Tensor) -> Tensor:
    """numpy has no bfloat16, which the original has not either."""
    return features if features.dtype == torch.float16 else features.float()


@dataclass(frozen=True, slots=True)
class Preprocess:
    """A Pillow image -> float32 [3, s, s], normalised, on the CPU: what the model's `encode_image` takes.

    Pixel for pixel the original's transform, and so unlike the rest of this library in three points: the image is not
    turned by its EXIF orientation, transparency is dropped instead of laid on white, and the crop is rounded as
    torchvision rounds it, for checkpoints in transformers' layout too. Can be sent to a data loader's workers.
    """

    preprocessing: Preprocessing

    def __call__(self, image: Image.Image) -> Tensor:
        # Transparency goes last: resizing with it, and so how colours mix at its edges, is what the original does.
        kept = image.convert("RGBA" if image.has_transparency_data else "RGB")
        square = np.array(self.preprocessing.prepare(np.asarray(kept))[..., :3])
        pixels = torch.from_numpy(square).permute(2, 0, 1).float() * self.preprocessing.rescale
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.preprocessing.mean, self.preprocessing.std))
        return (pixels - mean) / std
