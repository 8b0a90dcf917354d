"""What the rest of the library asks of a family of models, whoever trained it and however its files lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from clipcore.preprocess import Preprocessing

Tokens = dict[str, Tensor]
"""What a text tower takes: `input_ids` int64 [n, l] and, where the family masks its padding, `attention_mask`."""

Tokenize = Callable[[Sequence[str]], Tokens]
"""Texts of any length -> tokens, cut to the context with the end mark kept, padded as the family was trained."""


class Towers(Protocol):
    """Two towers into one space. Differentiable: the caller decides on inference mode, precision and device."""

    @property
    def module(self) -> nn.Module:
        """Owns every weight: what is moved, rounded, trained and saved."""
        ...

    @property
    def vision(self) -> Sequence[nn.Module | nn.Parameter]:
        """The parts that only pictures pass through, projection included."""
        ...

    @property
    def text(self) -> Sequence[nn.Module | nn.Parameter]:
        """The parts that only texts pass through, projection included; none where the model sees pictures alone."""
        ...

    @property
    def log_scale(self) -> nn.Parameter | None:
        """The natural logarithm of the logit scale (inverse temperature); None where a model has no texts."""
        ...

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """What SigLIP adds to each logit (Zhai et al. 2023, §3.2); None in families trained with a softmax."""
        ...

    def image_features(self, pixels: Tensor) -> Tensor:
        """pixels: [n, 3, s, s], normalised. Returns [n, dim], not of unit length."""
        ...

    def text_features(self, tokens: Tokens) -> Tensor:
        """Returns [n, dim], not of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint taken apart into what this library handles.

    tokenize: None where the model sees pictures alone. context_length: tokens a text may have, 0 without a text tower.
    save: writes a directory that `find_checkpoint` and `open_checkpoint` take again, with the weights as they are then.
    """

    towers: Towers
    tokenize: Tokenize | None
    preprocessing: Preprocessing
    dimension: int
    context_length: int
    save: Callable[[Path], None]
