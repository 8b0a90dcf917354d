"""CLIP with a ResNet for pictures. transformers has no such model, so its layout on the disk is our own.

The layout is the hub's with a `config.json` of model type `clip_resnet`: its vision_config is a ResNetShape, its
text_config transformers'. Names in `model.safetensors`: `visual.…` as in the original's checkpoints, `text_model.…` and
`text_projection.weight` as in transformers'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import (
    ChineseCLIPTextConfig,
    ChineseCLIPTextModel,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from clipcore.checkpoint import Checkpoint
from clipcore.json_file import read_object
from clipcore.preprocess import Preprocessing
from clipcore.towers.hub_files import write_preprocessing
from clipcore.towers.not_weights import NotWeights
from clipcore.towers.openai_names import Weights
from clipcore.towers.quiet import quiet
from clipcore.towers.resnet_tower import ResNetShape, ResNetTower
from clipcore.towers.seam import Opened, Tokens, Towers
from clipcore.towers.tokenizing import load_tokenizer, padded_to_longest
from clipcore.towers.weights_file import read_weights

MODEL_TYPE = "clip_resnet"


def open_clip_resnet(checkpoint: Checkpoint) -> Opened:
    """What `save` wrote. Raises NotWeights where it is incomplete."""
    directory = checkpoint.directory
    config = read_object(directory / "config.json")
    vision = config["vision_config"]
    return opened_resnet(
        ResNetShape(**{**vision, "blocks": tuple(vision["blocks"])}),
        config["text_config"],
        read_weights(directory / "model.safetensors"),
        load_tokenizer(checkpoint),
        context_length=config["context_length"],
        preprocessing=Preprocessing.read(directory / "preprocessor_config.json"),
    )


def opened_resnet(
    shape: ResNetShape,
    text_config: dict[str, Any],
    weights: Weights,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context_length: int,
    preprocessing: Preprocessing,
) -> Opened:
    """text_config: of CLIP's or Chinese CLIP's text tower. weights: float32, in this layout's names."""
    with torch.device("meta"):
        visual = ResNetTower(shape)
    model = ResNetClip(visual, _text_model(text_config), shape.dimension)
    load_exactly(model, weights)

    def save(target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        config = {
            "model_type": MODEL_TYPE,
            "context_length": context_length,
            "vision_config": asdict(shape),
            "text_config": model.text_model.config.to_diff_dict(),
        }
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        named = {name: value.contiguous() for name, value in model.state_dict().items()}
        safetensors.torch.save_file(named, target / "model.safetensors", metadata={"format": "pt"})
        with quiet():
            tokenizer.save_pretrained(target)
        write_preprocessing(preprocessing, target)

    return Opened(
        towers=resnet_clip_towers(model),
        tokenize=padded_to_longest(tokenizer, context_length),
        preprocessing=preprocessing,
        dimension=shape.dimension,
        context_length=context_length,
        save=save,
    )


class ResNetClip(nn.Module):
    def __init__(self, visual: ResNetTower, text_model: PreTrainedModel, dimension: int) -> None:
        super().__init__()
        self.visual = visual
        self.text_model = text_model
        self.text_projection = nn.Linear(text_model.config.hidden_size, dimension, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(()))


def resnet_clip_towers(model: ResNetClip) -> Towers:
    return Towers(
        module=model,
        vision=(model.visual,),
        text=(model.text_model, model.text_projection),
        image_features=model.visual,
        text_features=partial(_text_features, model),
        log_scale=model.logit_scale,
    )


def _text_features(model: ResNetClip, tokens: Tokens) -> Tensor:
    read = model.text_model(**tokens)
    # CLIP's text tower picks out the end mark itself; Chinese CLIP's is read off at its first token.
    pooled = read.last_hidden_state[:, 0] if read.pooler_output is None else read.pooler_output
    features: Tensor = model.text_projection(pooled)
    return features


def load_exactly(model: nn.Module, weights: Weights) -> None:
    """Raises NotWeights where a weight is missing, left over, or of another shape."""
    try:
        report = model.load_state_dict({**_counters(model), **weights}, strict=False, assign=True)
    except RuntimeError as error:
        raise NotWeights("the weights do not fit each other's shapes; download it again") from error
    check_complete(report.missing_keys, report.unexpected_keys)


def check_complete(missing: Sequence[str], unexpected: Sequence[str]) -> None:
    if missing:
        raise NotWeights(f"the weights are incomplete, {missing[0]} is missing; download it again")
    if unexpected:
        raise NotWeights(f"the weights are of another kind of model, for CLIP has no {unexpected[0]}")


def _counters(model: nn.Module) -> Weights:
    """How many batches a normalisation has seen: only counted while training, and not in every checkpoint."""
    return {
        name: torch.zeros((), dtype=torch.int64)
        for name, _ in model.named_buffers()
        if name.endswith("num_batches_tracked")
    }


def _text_model(config: dict[str, Any]) -> PreTrainedModel:
    if config.get("model_type") == ChineseCLIPTextConfig.model_type:
        return ChineseCLIPTextModel(ChineseCLIPTextConfig(**config), add_pooling_layer=False)
    return CLIPTextModel(CLIPTextConfig(**config))
