"""The programming interface of OpenAI's `clip` package, for models of every family: tensors in, tensors out.

model, preprocess = clipcore.load("ViT-B/32")
image = preprocess(Image.open("CLIP.png")).unsqueeze(0)
logits_per_image, logits_per_text = model(image, clipcore.tokenize(["a diagram", "a dog", "a cat"]))
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipcore.errors import BadInput, WordsNotUnderstood
from clipcore.images.preprocess import Preprocessing
from clipcore.model import ClipModel
from clipcore.models.bpe import CONTEXT_LENGTH, END, token_ids
from clipcore.models.towers import Tokens
from clipcore.runtime.torch import Precision, find_device
from clipcore.types import ModelCard


def load(
    name_or_path: str,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    compile: bool = False,  # noqa: A002 - torch's own word for it
    *,
    local_only: bool = False,
) -> TorchClip:
    """name_or_path: a name from `available_models`, a hub id, a directory or a file. Raises ModelUnavailable.

    dtype: of the weights, `float32`, `bfloat16` or `float16`, as text or torch's own, or `auto`: bfloat16 where the
    hardware has it. Left out, float32 on a CPU, as `clip.load` does, and `auto` elsewhere. The rest is as in
    `ClipModel.load`.
    """
    chosen = find_device(str(device))
    precision = _precision(("float32" if chosen.type == "cpu" else "auto") if dtype is None else dtype)
    clip = ClipModel.load(name_or_path, device=str(chosen), precision=precision, compile=compile, local_only=local_only)
    return TorchClip(clip)


def tokenize(texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH, truncate: bool = False) -> Tensor:
    """CLIP's tokens, int32 [n, context_length]: 49406, the text, 49407, and zeros behind. See bpe.token_ids.

    Raises TextTooLong, a RuntimeError, for a text that is too long and may not be cut.
    """
    return torch.from_numpy(token_ids(texts, context_length, truncate=truncate))


@dataclass(frozen=True, slots=True)
class Visual:
    """What code for the original asks of `model.visual`: pixels along the edge of an image, numbers in a feature."""

    input_resolution: int
    output_dim: int


class TorchClip(nn.Module):
    """A loaded model, spoken to in tensors. Unpacks into itself and its `preprocess`, as `clip.load` returned them.

    Features are float32 [n, dim], not of unit length, and differentiable with respect to the images; the weights are
    frozen until `requires_grad_()`. `clip` is the same model giving numpy vectors of unit length, on the same weights
    wherever they are moved; `card` says what it is.
    """

    def __init__(self, clip: ClipModel) -> None:
        super().__init__()
        self.clip = clip
        self.preprocess = Preprocess(clip.preprocessing)
        self.visual = Visual(clip.card.input_size, clip.card.dimension)
        self.context_length = clip.card.context_length
        self.towers = clip.towers.module
        self._takes_clip_tokens = _takes_clip_tokens(clip)

    def __iter__(self) -> Iterator[Any]:
        return iter((self, self.preprocess))

    @property
    def card(self) -> ModelCard:
        return self.clip.card

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def vocab_size(self) -> int:
        """Tokens that the text tower knows; 0 where the model sees images alone."""
        tables = [
            table for part in self.clip.towers.text for table in part.modules() if isinstance(table, nn.Embedding)
        ]
        return max((table.num_embeddings for table in tables), default=0)

    @property
    def logit_scale(self) -> Tensor:
        """Its natural logarithm, float32 whatever the weights are."""
        return torch.tensor(math.log(self.card.logit_scale), device=self.clip.device)

    def tokenize(self, texts: str | Sequence[str]) -> Tokens:
        """What this model's own `encode_text` takes, whichever its family, cut to its context, on its device.

        Raises WordsNotUnderstood where the model sees images alone.
        """
        return self.clip.as_tokens([texts] if isinstance(texts, str) else texts)

    def encode_image(self, images: Tensor) -> Tensor:
        """images: float [n, 3, s, s], as `preprocess` makes them. Returns float32 [n, dim]."""
        size = self.card.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise BadInput(
                f"encode_image takes a batch of shape [n, 3, {size}, {size}] and got {list(images.shape)}; prepare "
                "images with model.preprocess, and one alone with .unsqueeze(0)."
            )
        return self.clip.towers.image_features(images.to(self.clip.device, self.dtype)).float()

    def encode_text(self, text: Tensor | Tokens) -> Tensor:
        """text: int [n, l] from `clipcore.tokenize` where the model has CLIP's vocabulary, or what `model.tokenize`
        returns. Returns float32 [n, dim]. Raises BadInput, and WordsNotUnderstood where it sees images alone.
        """
        if not self.card.reads_text:
            raise WordsNotUnderstood(self.card.id)
        tokens = self._from_clip(text) if isinstance(text, Tensor) else text
        return self.clip.towers.text_features({name: ids.to(self.clip.device) for name, ids in tokens.items()}).float()

    def forward(self, images: Tensor, text: Tensor | Tokens) -> tuple[Tensor, Tensor]:
        """logits_per_image [images, texts] and logits_per_text, its transpose: cosine × logit scale + bias."""
        images, texts = normalize(self.encode_image(images), dim=-1), normalize(self.encode_text(text), dim=-1)
        logits = self.card.logit_scale * images @ texts.T + self.card.logit_bias
        return logits, logits.T

    def _from_clip(self, ids: Tensor) -> Tokens:
        """Padding is zeros behind the end mark. The text is summed up at that mark, which sees only what stands before
        it (Radford et al. 2021, §2.4), so no mask is needed.
        """
        if not self._takes_clip_tokens:
            raise BadInput(
                f"The model {self.card.id!r} has a vocabulary of its own; give what model.tokenize(texts) returns."
            )
        if ids.ndim != 2 or ids.shape[1] > self.card.context_length:
            raise BadInput(
                f"encode_text takes tokens of shape [n, {self.card.context_length}] and got {list(ids.shape)}; make "
                f"them with clipcore.tokenize(texts, context_length={self.card.context_length})."
            )
        return {"input_ids": ids.long()}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """A Pillow image -> float32 [3, s, s], normalised, on the CPU: what the model's `encode_image` takes.

    As the original's transform does, and other than the rest of this library: the image is not turned by its EXIF
    orientation, and transparency is dropped rather than laid on white. Where an odd number of pixels is cropped away,
    the square may lie one pixel beside the original's, since it lies as transformers puts it. Can be sent to a data
    loader's workers.
    """

    preprocessing: Preprocessing

    def __call__(self, image: Image.Image) -> Tensor:
        # Transparency goes last: resizing with it, and so how colours mix at its edges, is what the original does.
        kept = image.convert("RGBA" if image.has_transparency_data else "RGB")
        square = np.array(self.preprocessing.prepare(np.asarray(kept))[..., :3])
        pixels = torch.from_numpy(square).permute(2, 0, 1).float() * self.preprocessing.rescale
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.preprocessing.mean, self.preprocessing.std))
        return (pixels - mean) / std


_PRECISIONS: dict[str, Precision] = {
    "auto": "auto",
    "float32": "fp32",
    "fp32": "fp32",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "float16": "fp16",
    "fp16": "fp16",
}


def _precision(dtype: str | torch.dtype) -> Precision:
    name = str(dtype).removeprefix("torch.")
    if name not in _PRECISIONS:
        raise BadInput(f"There is no dtype {name!r}; choose float32, bfloat16, float16 or auto.")
    return _PRECISIONS[name]


def _takes_clip_tokens(clip: ClipModel) -> bool:
    """Whether its own tokenizer gives CLIP's ids, so that those of `clipcore.tokenize` mean the same to it."""
    if not clip.card.reads_text:
        return False
    probe = "a photo of 2 cats"
    ids = token_ids(probe)[0].tolist()
    own: list[int] = clip.as_tokens([probe])["input_ids"][0].tolist()
    return own[: own.index(END) + 1] == ids[: ids.index(END) + 1] if END in own else False
