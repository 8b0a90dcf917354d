"""SigLIP and SigLIP 2: a sigmoid for each pair instead of a softmax over the batch, so a bias beside the scale."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from functools import partial

import torch
from tokenizers import normalizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from clipcore.models.towers import Tokens, Towers

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOWER = normalizers.Lowercase()


def siglip_towers(model: PreTrainedModel, inputs: Callable[[Tensor], dict[str, Tensor]]) -> Towers:
    """Each tower ends in its own head, without a projection (Zhai et al. 2023).

    inputs: pixels -> what the vision tower takes: `whole_images`, or `square_patches` for NaFlex.
    """
    return Towers(
        module=model,
        vision=(model.vision_model,),
        text=(model.text_model,),
        image_features=partial(_image_features, model, inputs),
        text_features=partial(_text_features, model),
        log_scale=model.logit_scale,
        logit_bias=model.logit_bias,
    )


def _image_features(model: PreTrainedModel, inputs: Callable[[Tensor], dict[str, Tensor]], pixels: Tensor) -> Tensor:
    features: Tensor = model.get_image_features(**inputs(pixels)).pooler_output
    return features


def _text_features(model: PreTrainedModel, tokens: Tokens) -> Tensor:
    features: Tensor = model.get_text_features(**tokens).pooler_output
    return features


def whole_images(pixels: Tensor) -> dict[str, Tensor]:
    return {"pixel_values": pixels}


def square_patches(patch: int) -> Callable[[Tensor], dict[str, Tensor]]:
    """For NaFlex checkpoints, whose vision tower takes any number of patches in any proportion.

    Every image is resized to one square of as many patches as the checkpoint allows, since a batch has one shape. A
    square image gets the embedding that transformers gives it; others lose their proportions, which NaFlex was made to
    keep, so for them a fixed-resolution SigLIP 2 checkpoint is the better choice.
    """

    def inputs(pixels: Tensor) -> dict[str, Tensor]:
        count, channels, height, width = pixels.shape
        rows, columns = height // patch, width // patch
        tiles = pixels.reshape(count, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
        return {
            "pixel_values": tiles.reshape(count, rows * columns, patch * patch * channels),
            "pixel_attention_mask": torch.ones(count, rows * columns, dtype=torch.int32, device=pixels.device),
            "spatial_shapes": torch.tensor([[rows, columns]] * count),
        }

    return inputs


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
