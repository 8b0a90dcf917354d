"""What the rest of the library needs of a model, whatever its family and however its files are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from clipcore.images.preprocess import Preprocessing

Tokens = dict[str, Tensor]
"""What a text tower takes: `input_ids` int64 [n, l] and, where the family masks its padding, `attention_mask`."""

Tokenize = Callable[[Sequence[str]], Tokens]
"""Texts of any length -> tokens, truncated to the context with the end token kept, padded as the family was trained."""


@dataclass(frozen=True, slots=True)
class Towers:
    """Two towers into one space. Differentiable: the caller decides on inference mode, precision and device.

    The functions are the module's own methods or partials over it, never closures: a deep copy of a closure would still
    use the original's weights.

    module: owns every weight; it is what is moved, rounded, trained and saved.
    vision, text: the parts that only images, or only texts, pass through, projections included; `text` is empty in
    image-only models.
    image_features: [n, 3, s, s], normalised -> [n, dim], not of unit length. text_features: the same for tokens.
    quick_image_features: the same result with less work, where the family has such a path; not for training.
    log_scale: the natural logarithm of the logit scale (inverse temperature); None in image-only models.
    logit_bias: what SigLIP adds to each logit (Zhai et al. 2023, §3.2); None in families trained with a softmax.
    """

    module: nn.Module
    vision: Sequence[nn.Module]
    text: Sequence[nn.Module]
    image_features: Callable[[Tensor], Tensor]
    text_features: Callable[[Tokens], Tensor]
    log_scale: nn.Parameter | None = None
    logit_bias: nn.Parameter | None = None
    quick_image_features: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint opened, on the CPU and in float32.

    tokenize: None in image-only models. context_length: tokens that a text may have, 0 without a text tower.
    save: writes a directory that `find_checkpoint` and `open_checkpoint` read again, with the current weights.
    """

    towers: Towers
    tokenize: Tokenize | None
    preprocessing: Preprocessing
    dimension: int
    context_length: int
    save: Callable[[Path], None]
