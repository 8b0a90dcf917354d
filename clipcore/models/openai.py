"""One file of weights in the original CLIP's names: OpenAI's `.pt`, TorchScript or state dict, and open_clip's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from clipcore.errors import NotWeights
from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing, write_preprocessing
from clipcore.models.bpe import Merges
from clipcore.models.openai_names import (
    Style,
    Weights,
    has_vision_transformer,
    in_hub_names,
    text_config,
    vision_config,
    weights_alone,
)
from clipcore.models.resnet import ResNetShape, check_complete, opened_resnet
from clipcore.models.softmax import softmax_towers
from clipcore.models.tokenizers import clip_tokenizer, padded_to_longest
from clipcore.models.towers import Opened, quiet
from clipcore.models.weights import read_weights


def opened_clip(weights: Weights, style: Style, preprocessing: Preprocessing, learned: Merges | None = None) -> Opened:
    """preprocessing: the size in it does not matter, since the weights tell. learned: the tokenizer's merges, if not
    CLIP's own. Raises NotWeights where these are no weights of CLIP's.
    """
    weights = weights_alone(weights)
    texts = text_config(weights, style)
    context_length = int(texts["max_position_embeddings"])
    tokenizer = clip_tokenizer(texts["vocab_size"], context_length, learned)
    if not has_vision_transformer(weights):
        shape = ResNetShape.of(weights)
        return opened_resnet(
            shape,
            texts,
            in_hub_names(weights),
            tokenizer,
            context_length=context_length,
            preprocessing=seen_at(preprocessing, shape.image_size),
        )
    images = vision_config(weights, style)
    config = CLIPConfig(text_config=texts, vision_config=images, projection_dim=texts["projection_dim"])
    return opened_transformer(
        assembled(CLIPModel, config, in_hub_names(weights)),
        tokenizer,
        context_length=context_length,
        preprocessing=seen_at(preprocessing, images["image_size"]),
    )


def assembled(kind: type[PreTrainedModel], config: PretrainedConfig, weights: Weights) -> PreTrainedModel:
    """transformers' model with exactly these weights. Raises NotWeights where they do not fit."""
    try:
        model, report = kind.from_pretrained(
            None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True
        )
    except RuntimeError as error:
        raise NotWeights("the weights do not fit each other's shapes; download it again") from error
    check_complete(sorted(report["missing_keys"]), sorted(report["unexpected_keys"]))
    loaded: PreTrainedModel = model
    return loaded


def opened_transformer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context_length: int,
    preprocessing: Preprocessing,
) -> Opened:
    """Saved, it is a checkpoint in the hub's layout."""

    def save(target: Path) -> None:
        with quiet():
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
        write_preprocessing(preprocessing, target)

    return Opened(
        towers=softmax_towers(model),
        tokenize=padded_to_longest(tokenizer, context_length),
        preprocessing=preprocessing,
        dimension=int(model.config.projection_dim),
        context_length=context_length,
        save=save,
    )


def seen_at(preprocessing: Preprocessing, edge: int) -> Preprocessing:
    return replace(preprocessing, size=edge, crop=edge)


# open_clip's names are the original's, but not its activation, and no weight tells that. So files named as open_clip
# names them are read with its own description beside them, and all others as OpenAI's.
_OPEN_CLIP = "open_clip_"
_OPEN_CLIP_CONFIG = "open_clip_config.json"


def open_weights_file(file: Path) -> Opened:
    """Raises NotWeights where the file holds no CLIP model, or more than weights."""
    if file.name.startswith(_OPEN_CLIP):
        style, preprocessing = _described_by_open_clip(file.with_name(_OPEN_CLIP_CONFIG))
    else:
        style, preprocessing = Style(), Preprocessing()
    return opened_clip(read_weights(file), style, preprocessing)


def _described_by_open_clip(path: Path) -> tuple[Style, Preprocessing]:
    if not path.is_file():
        raise NotWeights(f"beside an open_clip file must lie its {path.name}, which says what activation to use")
    config = read_object(path)
    model, seen = config["model_cfg"], config.get("preprocess_cfg", {})
    if model.get("custom_text") or "hf_model_name" in model["text_cfg"]:
        raise NotWeights("open_clip's models with a text tower of another kind are not supported")
    assumed = Preprocessing()
    return (
        Style(
            activation="quick_gelu" if model.get("quick_gelu") else "gelu",
            vision_head=int(model["vision_cfg"].get("head_width", 64)),
            text_head=int(model["text_cfg"].get("width", 512)) // int(model["text_cfg"].get("heads", 8)),
        ),
        Preprocessing(
            squash=seen.get("resize_mode") == "squash",
            mean=tuple(seen.get("mean", assumed.mean)),
            std=tuple(seen.get("std", assumed.std)),
        ),
    )
