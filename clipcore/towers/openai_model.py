"""Weights in the original CLIP's names -> a model. Transformers of pictures become transformers' own CLIP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from clipcore.bpe import Merges
from clipcore.preprocess import Preprocessing
from clipcore.towers.clip_resnet import check_complete, opened_resnet
from clipcore.towers.clip_tokenizer import clip_tokenizer
from clipcore.towers.hub_files import write_preprocessing
from clipcore.towers.not_weights import NotWeights
from clipcore.towers.openai_names import (
    Style,
    Weights,
    has_vision_transformer,
    in_hub_names,
    text_config,
    vision_config,
    weights_alone,
)
from clipcore.towers.quiet import quiet
from clipcore.towers.resnet_tower import ResNetShape
from clipcore.towers.seam import Opened
from clipcore.towers.softmax import softmax_towers
from clipcore.towers.tokenizing import padded_to_longest


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
    pictures = vision_config(weights, style)
    config = CLIPConfig(text_config=texts, vision_config=pictures, projection_dim=texts["projection_dim"])
    return opened_transformer(
        assembled(CLIPModel, config, in_hub_names(weights)),
        tokenizer,
        context_length=context_length,
        preprocessing=seen_at(preprocessing, pictures["image_size"]),
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
