"""The families that transformers implements: AltCLIP, dual encoders, SigLIP, DINOv2, ResNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import logging

from clipcore.errors import ModelUnavailable, TextNotSupported
from clipcore.models.checkpoint import (
    IMAGE_ONLY,
    Checkpoint,
    copy_processor_files,
    model_type,
    preprocessing_of,
    weight_files,
)
from clipcore.models.tokenizers import context_length, hub_tokenizer, load_tokenizer, padded_to_context
from clipcore.models.towers import Opened, Tokenize, Tokens, Towers
from clipcore.models.weights import read_checkpoint_weights

_OPTIONS: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
_Parts = tuple[Towers, Tokenize | None, int, int]
"""Towers, tokenizer, dimension and context length, as in `Opened`."""


def open_with_transformers(checkpoint: Checkpoint) -> Opened:
    """Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    kind = model_type(checkpoint.directory)
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise ModelUnavailable(
            f"The model {checkpoint.id!r} is a {kind!r} model; choose a CLIP, SigLIP, DINOv2 or ResNet checkpoint."
        )
    with _quiet():
        model, report = _from_pickles(checkpoint.directory) or AutoModel.from_pretrained(
            checkpoint.directory, **_OPTIONS, local_files_only=True, trust_remote_code=False
        )
        if report["missing_keys"]:
            raise ModelUnavailable(f"The weights of {checkpoint.id!r} are incomplete; download the model again.")
        towers, tokenize, dimension, length = _FAMILIES[kind](model, checkpoint)
    return Opened(
        towers,
        tokenize,
        preprocessing_of(checkpoint),
        dimension,
        length,
        save_weights=_quiet()(model.save_pretrained),
        save_tokenizer=partial(copy_processor_files, checkpoint.directory),
    )


def _from_pickles(directory: Path) -> tuple[PreTrainedModel, dict[str, Any]] | None:
    """Where the weights are pickles, which transformers would read with `torch.load`. With transformers' report."""
    if all(file.suffix == ".safetensors" for file in weight_files(directory)):
        return None
    weights = read_checkpoint_weights(directory)
    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        family = type(AutoModel.from_config(config))
    loaded: tuple[PreTrainedModel, dict[str, Any]] = family.from_pretrained(
        None, config=config, state_dict=weights, **_OPTIONS
    )
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' messages and progress bars."""
    level, with_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if with_bars:
            logging.enable_progress_bar()


def _softmax(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    """Two towers, a bias-free projection after each, and a temperature (Radford et al. 2021, §2.3)."""
    vision, text = (model.vision_model, model.visual_projection), (model.text_model, model.text_projection)
    towers = Towers(model, vision, text, partial(_pooled, model.get_image_features), partial(_text_features, model))
    length = context_length(model.config.text_config.to_dict(), checkpoint.directory)
    return towers, hub_tokenizer(checkpoint, length), int(model.config.projection_dim), length


def _sigmoid(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    """Each tower ends in its own head, without a projection (Zhai et al. 2023)."""
    length = context_length(model.config.text_config.to_dict(), checkpoint.directory)
    # As filed: SigLIP 2 at fixed resolutions names Gemma's tokenizer class, and SigLIP's own class needs the
    # SentencePiece reader.
    tokenize = padded_to_context(load_tokenizer(checkpoint, as_filed=True), length)
    image_features = partial(_pooled, model.get_image_features)
    if model.config.model_type == "siglip2":
        image_features = partial(_naflex_features, model)
    towers = Towers(model, (model.vision_model,), (model.text_model,), image_features, partial(_text_features, model))
    return towers, tokenize, int(model.config.vision_config.hidden_size), length


def _image_only(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    """The embedding is what each family's authors compare images by.

    DINOv2: the class token after the last layer norm (Oquab et al. 2023; `x_norm_clstoken`, which their published
    models return). ResNet: the last feature map, averaged over all positions (He et al. 2015, §3.3).
    """
    config = model.config
    towers = Towers(model, (model,), (), partial(_pooled, model), partial(_no_text_features, checkpoint.id))
    dimension = config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size
    return towers, None, int(dimension), 0


def _pooled(encode: Callable[..., Any], pixels: Tensor) -> Tensor:
    # transformers 5 wraps features in an output object, whose pooler_output is the projection, if there is one. A
    # ResNet's is [n, dim, 1, 1].
    features: Tensor = encode(pixel_values=pixels).pooler_output
    return features.flatten(1)


def _naflex_features(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    """NaFlex's vision tower takes any number of patches in any proportion.

    Every image is resized to one square of as many patches as the checkpoint allows, since a batch has one shape. A
    square image gets the embedding that transformers gives it; others lose their proportions, which NaFlex was made to
    keep, so for them a fixed-resolution SigLIP 2 checkpoint is the better choice.
    """
    count, channels, height, width = pixels.shape
    patch = int(model.config.vision_config.patch_size)
    rows, columns = height // patch, width // patch
    tiles = pixels.reshape(count, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    features: Tensor = model.get_image_features(
        pixel_values=tiles.reshape(count, rows * columns, patch * patch * channels),
        pixel_attention_mask=torch.ones(count, rows * columns, dtype=torch.int32, device=pixels.device),
        spatial_shapes=torch.tensor([[rows, columns]] * count),
    ).pooler_output
    return features


def _text_features(model: PreTrainedModel, tokens: Tokens) -> Tensor:
    features: Tensor = model.get_text_features(**tokens).pooler_output
    return features


def _no_text_features(model_id: str, tokens: Tokens) -> Tensor:
    raise TextNotSupported(model_id)


# By `model_type` in config.json. SigLIP 2 is "siglip" at fixed resolutions and "siglip2" where it is NaFlex.
_FAMILIES: dict[str, Callable[[PreTrainedModel, Checkpoint], _Parts]] = {
    "altclip": _softmax,
    "vision-text-dual-encoder": _softmax,
    "siglip": _sigmoid,
    "siglip2": _sigmoid,
    **dict.fromkeys(IMAGE_ONLY, _image_only),
}
