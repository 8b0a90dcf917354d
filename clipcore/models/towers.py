"""What the rest of the library needs of a model, whatever its family and however its files are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from clipcore.images.preprocess import Preprocessing, preprocessing_file, write_preprocessing

Tokens = dict[str, Tensor]
"""What a text tower takes: `input_ids` int64 [n, l] and, where the family masks its padding, `attention_mask`."""

Tokenize = Callable[[Sequence[str]], Tokens]
"""Texts of any length -> tokens, truncated to the context with the end token kept, padded as the family was trained."""


@dataclass(frozen=True, slots=True)
class Towers:
    """Two towers into one space. Differentiable: the caller decides on inference mode, precision and device.

    The functions are the module's own methods or partials over it, never closures: a deep copy of a closure would still
    use the original's weights.

    module: owns every weight; it is what is moved, rounded, trained and saved. Its temperature and bias, where it has
    them, are `logit_scale` and `logit_bias`, as in transformers.
    vision, text: the parts that only images, or only texts, pass through, projections included; `text` is empty in
    image-only models.
    image_features: [n, 3, s, s], normalised -> [n, dim], not of unit length. text_features: the same for tokens.
    """

    module: nn.Module
    vision: Sequence[nn.Module]
    text: Sequence[nn.Module]
    image_features: Callable[[Tensor], Tensor]
    text_features: Callable[[Tokens], Tensor]

    @property
    def log_scale(self) -> nn.Parameter | None:
        """The natural logarithm of the logit scale (inverse temperature); None in image-only models."""
        scale: nn.Parameter | None = getattr(self.module, "logit_scale", None)
        return scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """What SigLIP adds to each logit (Zhai et al. 2023, §3.2); None in families trained with a softmax."""
        bias: nn.Parameter | None = getattr(self.module, "logit_bias", None)
        return bias


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint opened, on the CPU and in float32.

    tokenize: None in image-only models. context_length: tokens that a text may have, 0 without a text tower.
    save_weights: writes config.json and the current weights. save_tokenizer: the tokenizer's files, and those of the
    preprocessing if the checkpoint has any.
    """

    towers: Towers
    tokenize: Tokenize | None
    preprocessing: Preprocessing
    dimension: int
    context_length: int
    save_weights: Callable[[Path], object]
    save_tokenizer: Callable[[Path], object]

    def save(self, directory: Path) -> None:
        """Writes a directory that `find_checkpoint` and `open_checkpoint` read again."""
        directory.mkdir(parents=True, exist_ok=True)
        self.save_weights(directory)
        self.save_tokenizer(directory)
        if preprocessing_file(directory) is None:
            write_preprocessing(self.preprocessing, directory)
