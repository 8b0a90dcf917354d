"""What SigLIP and SigLIP 2 are given: NaFlex's patches, and the spelling of texts."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

import torch
from tokenizers import normalizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOWER = normalizers.Lowercase()


def square_patches(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """[n, 3, s, s] -> what the vision tower of a NaFlex checkpoint takes: any number of patches in any proportion.

    Every image is resized to one square of as many patches as the checkpoint allows, since a batch has one shape. A
    square image gets the embedding that transformers gives it; others lose their proportions, which NaFlex was made to
    keep, so for them a fixed-resolution SigLIP 2 checkpoint is the better choice.
    """
    count, channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    tiles = pixels.reshape(count, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": tiles.reshape(count, rows * columns, patch * patch * channels),
        "pixel_attention_mask": torch.ones(count, rows * columns, dtype=torch.int32, device=pixels.device),
        "spatial_shapes": torch.tensor([[rows, columns]] * count),
    }


def spelling_for(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], str]:
    """What is done to a text first. SigLIP 2 has Gemma's tokenizer (BPE), SigLIP a SentencePiece unigram model."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return lower_case if backend is not None and isinstance(backend.model, BPE) else bare_words


def lower_case(text: str) -> str:
    """SigLIP 2's, as transformers' Siglip2Tokenizer, which the checkpoints at fixed resolutions do not name."""
    lowered: str = _LOWER.normalize_str(text)
    return lowered


def bare_words(text: str) -> str:
    """SigLIP's: lower case, no ASCII punctuation, single spaces; big_vision's `canonicalize_text`."""
    return re.sub(r"\s+", " ", text.lower().translate(_WITHOUT_PUNCTUATION)).strip()
