"""The families that transformers implements: Chinese CLIP, AltCLIP, dual encoders, SigLIP, DINOv2, ResNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from clipcore.errors import ModelUnavailable, TextNotSupported
from clipcore.models.checkpoint import IMAGE_ONLY, Checkpoint, copy_processor_files, model_type, preprocessing_of
from clipcore.models.first_token import first_token, pools_class_token
from clipcore.models.siglip import siglip_towers, spelling_for, square_patches, whole_images
from clipcore.models.tokenizers import context_length, hub_tokenizer, load_tokenizer, padded_to_context
from clipcore.models.towers import Opened, Tokenize, Tokens, Towers


@dataclass(frozen=True, slots=True)
class _Parts:
    towers: Towers
    tokenize: Tokenize | None
    dimension: int
    context_length: int


def open_with_transformers(checkpoint: Checkpoint) -> Opened:
    """Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    directory = checkpoint.directory
    family = _family(checkpoint)
    with quiet():
        model = _load(checkpoint)
        parts = family(model, checkpoint)

    def save(target: Path) -> None:
        with quiet():
            model.save_pretrained(target)
        copy_processor_files(directory, target)

    return Opened(
        towers=parts.towers,
        tokenize=parts.tokenize,
        preprocessing=preprocessing_of(checkpoint),
        dimension=parts.dimension,
        context_length=parts.context_length,
        save=save,
    )


@contextmanager
def quiet() -> Iterator[None]:
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


def softmax_towers(model: PreTrainedModel) -> Towers:
    """Two towers, a bias-free projection after each, and a temperature (Radford et al. 2021, §2.3)."""
    return Towers(
        module=model,
        vision=(model.vision_model, model.visual_projection),
        text=(model.text_model, model.text_projection),
        image_features=partial(_image_features, model),
        text_features=partial(_text_features, model),
        log_scale=model.logit_scale,
        quick_image_features=partial(_quick_image_features, model) if pools_class_token(model.vision_model) else None,
    )


def _family(checkpoint: Checkpoint) -> Callable[[PreTrainedModel, Checkpoint], _Parts]:
    kind = model_type(checkpoint.directory)
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise ModelUnavailable(
            f"The model {checkpoint.id!r} is a {kind!r} model; choose a CLIP, SigLIP, DINOv2 or ResNet checkpoint."
        )
    return _FAMILIES[kind]


def _load(checkpoint: Checkpoint) -> PreTrainedModel:
    model, report = AutoModel.from_pretrained(
        checkpoint.directory,
        local_files_only=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise ModelUnavailable(f"The weights of {checkpoint.id!r} are incomplete; download the model again.")
    loaded: PreTrainedModel = model
    return loaded


def _softmax(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    length = context_length(model.config.text_config, checkpoint.directory)
    return _Parts(softmax_towers(model), hub_tokenizer(checkpoint, length), int(model.config.projection_dim), length)


def _siglip(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    return _sigmoid(siglip_towers(model, whole_images), model.config, checkpoint)


def _naflex(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    patches = square_patches(int(model.config.vision_config.patch_size))
    return _sigmoid(siglip_towers(model, patches), model.config, checkpoint)


def _sigmoid(towers: Towers, config: PretrainedConfig, checkpoint: Checkpoint) -> _Parts:
    length = context_length(config.text_config, checkpoint.directory)
    # As filed: SigLIP 2 at fixed resolutions names Gemma's tokenizer class, and SigLIP's own class needs the
    # SentencePiece reader.
    tokenizer = load_tokenizer(checkpoint, as_filed=True)
    tokenize = padded_to_context(tokenizer, length, spelling_for(tokenizer))
    return _Parts(towers, tokenize, int(config.vision_config.hidden_size), length)


def _image_only(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    """The embedding is what each family's authors compare images by.

    DINOv2: the class token after the last layer norm (Oquab et al. 2023; `x_norm_clstoken`, which their published
    models return). ResNet: the last feature map, averaged over all positions (He et al. 2015, §3.3).
    """
    config = model.config
    towers = Towers(
        module=model,
        vision=(model,),
        text=(),
        image_features=partial(_pooled, model),
        text_features=partial(_no_text_features, checkpoint.id),
    )
    dimension = config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size
    return _Parts(towers, None, int(dimension), 0)


def _image_features(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    # transformers 5 wraps features in an output object, whose pooler_output is the projection.
    features: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return features


def _quick_image_features(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    features: Tensor = model.visual_projection(first_token(model.vision_model, pixels))
    return features


def _text_features(model: PreTrainedModel, tokens: Tokens) -> Tensor:
    features: Tensor = model.get_text_features(**tokens).pooler_output
    return features


def _pooled(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=pixels).pooler_output
    return features.flatten(1)


def _no_text_features(model_id: str, tokens: Tokens) -> Tensor:
    raise TextNotSupported(model_id)


# By `model_type` in config.json. SigLIP 2 is "siglip" at fixed resolutions and "siglip2" where it is NaFlex.
_FAMILIES: dict[str, Callable[[PreTrainedModel, Checkpoint], _Parts]] = {
    "chinese_clip": _softmax,
    "altclip": _softmax,
    "vision-text-dual-encoder": _softmax,
    "siglip": _siglip,
    "siglip2": _naflex,
    **dict.fromkeys(IMAGE_ONLY, _image_only),
}
