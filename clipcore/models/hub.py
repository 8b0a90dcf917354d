"""Checkpoints in the layout of the model hub, through transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from clipcore.errors import ModelUnavailable, WordsNotUnderstood
from clipcore.images.preprocess import Preprocessing, preprocessing_file
from clipcore.models.checkpoint import IMAGE_ONLY, Checkpoint, model_type
from clipcore.models.siglip import siglip_towers, spelling_for, square_patches, whole_images
from clipcore.models.softmax import softmax_towers
from clipcore.models.tokenizers import context_length, load_tokenizer, padded_to_context, padded_to_longest
from clipcore.models.towers import Opened, Tokenize, Tokens, Towers, quiet


def image_only_towers(model: PreTrainedModel, model_id: str) -> Towers:
    """One tower. Its vector is what each family's authors compare images by.

    DINOv2: the class token behind the last layer norm (Oquab et al. 2023; `x_norm_clstoken`, which their published
    models return). ResNet: the last feature map, averaged over all places (He et al. 2015, §3.3).
    """
    return Towers(
        module=model,
        vision=(model,),
        text=(),
        image_features=partial(_image_features_image_only, model),
        text_features=partial(_no_text_features, model_id),
    )


def _image_features_image_only(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=pixels).pooler_output
    return features.flatten(1)


def _no_text_features(model_id: str, tokens: Tokens) -> Tensor:
    raise WordsNotUnderstood(model_id)


# What a directory holds beside config and weights, and what a fine-tuned copy needs as well. A calibration is not among
# it: training moves the cosines.
_BESIDE_THE_WEIGHTS = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "*.model",
)


@dataclass(frozen=True, slots=True)
class _Parts:
    towers: Towers
    tokenize: Tokenize | None
    dimension: int
    context_length: int


def open_hub_layout(checkpoint: Checkpoint) -> Opened:
    """Raises ModelUnavailable, and whatever the parsers of broken files raise."""
    directory = checkpoint.directory
    family = _family(checkpoint)
    model = _load(checkpoint)
    parts = family(model, checkpoint)
    file = preprocessing_file(directory)
    if file is None:
        raise ModelUnavailable(f"The model {checkpoint.id!r} does not say how to prepare images; download it again.")

    def save(target: Path) -> None:
        with quiet():
            model.save_pretrained(target)
        for pattern in _BESIDE_THE_WEIGHTS:
            for beside in directory.glob(pattern):
                shutil.copyfile(beside, target / beside.name)

    return Opened(
        towers=parts.towers,
        tokenize=parts.tokenize,
        preprocessing=Preprocessing.read(file),
        dimension=parts.dimension,
        context_length=parts.context_length,
        save=save,
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
    tokenize = padded_to_longest(load_tokenizer(checkpoint), length)
    return _Parts(softmax_towers(model), tokenize, int(model.config.projection_dim), length)


def _siglip(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    return _sigmoid(siglip_towers(model, whole_images), model.config, checkpoint)


def _naflex(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    patches = square_patches(int(model.config.vision_config.patch_size))
    return _sigmoid(siglip_towers(model, patches), model.config, checkpoint)


def _sigmoid(towers: Towers, config: PretrainedConfig, checkpoint: Checkpoint) -> _Parts:
    length = context_length(config.text_config, checkpoint.directory)
    # As filed: at fixed resolutions SigLIP 2 names Gemma's tokenizer, and where the SentencePiece reader is not
    # installed, SigLIP's own class cannot be had.
    tokenizer = load_tokenizer(checkpoint, as_filed=True)
    tokenize = padded_to_context(tokenizer, length, spelling_for(tokenizer))
    return _Parts(towers, tokenize, int(config.vision_config.hidden_size), length)


def _image_only(model: PreTrainedModel, checkpoint: Checkpoint) -> _Parts:
    config = model.config
    dimension = config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size
    return _Parts(image_only_towers(model, checkpoint.id), None, int(dimension), 0)


# By `model_type` in config.json. SigLIP 2 calls itself "siglip" at fixed resolutions and "siglip2" where it is NaFlex.
_FAMILIES: dict[str, Callable[[PreTrainedModel, Checkpoint], _Parts]] = {
    "clip": _softmax,
    "chinese_clip": _softmax,
    "altclip": _softmax,
    "vision-text-dual-encoder": _softmax,
    "siglip": _siglip,
    "siglip2": _naflex,
    **dict.fromkeys(IMAGE_ONLY, _image_only),
}
