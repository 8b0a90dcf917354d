"""What the rest of the library asks of a family of models, whoever trained it and however its files lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from transformers.utils import logging

from clipcore.images.preprocess import Preprocessing

Tokens = dict[str, Tensor]
"""What a text tower takes: `input_ids` int64 [n, l] and, where the family masks its padding, `attention_mask`."""

Tokenize = Callable[[Sequence[str]], Tokens]
"""Texts of any length -> tokens, cut to the context with the end mark kept, padded as the family was trained."""


@dataclass(frozen=True, slots=True)
class Towers:
    """Two towers into one space. Differentiable: the caller decides on inference mode, precision and device.

    The functions are the module's own methods, or partials over it, never closures: a deep copy's would still be those
    of the original.

    module: owns every weight: what is moved, rounded, trained and saved.
    vision, text: the parts that only images, or only texts, pass through, projections included; `text` is empty where
    the model sees images alone.
    image_features: [n, 3, s, s], normalised -> [n, dim], not of unit length. text_features: likewise, of tokens.
    quick_image_features: the same with less work, where the family has such a way; it leaves out what training needs.
    log_scale: the natural logarithm of the logit scale (inverse temperature); None where a model has no texts.
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
    """A checkpoint taken apart into what this library handles.

    tokenize: None where the model sees images alone. context_length: tokens a text may have, 0 without a text tower.
    save: writes a directory that `find_checkpoint` and `open_checkpoint` take again, with the weights as they are then.
    """

    towers: Towers
    tokenize: Tokenize | None
    preprocessing: Preprocessing
    dimension: int
    context_length: int
    save: Callable[[Path], None]


@contextmanager
def quiet() -> Iterator[None]:
    level, with_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if with_bars:
            logging.enable_progress_bar()
