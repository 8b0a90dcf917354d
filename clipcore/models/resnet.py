"""CLIP's ResNet: Radford et al. 2021, §2.4, in the names of the original's checkpoints.

Three changes to the ResNet of He et al. (2016). The stem is three 3 x 3 convolutions and an average pool (the "D" of
He et al. 2019). Where a block halves the image it averages before a convolution of stride 1, so that nothing aliases
(Zhang 2019). And the last pooling is one layer of attention, whose query is the mean over all places.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    ChineseCLIPTextConfig,
    ChineseCLIPTextModel,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from clipcore.errors import NotWeights
from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing, write_preprocessing
from clipcore.models.checkpoint import Checkpoint
from clipcore.models.openai_names import Weights, grid, shape
from clipcore.models.tokenizers import load_tokenizer, padded_to_longest
from clipcore.models.towers import Opened, Tokens, Towers, quiet
from clipcore.models.weights import read_weights

_EXPANSION = 4  # a block's output channels over its inner ones
_HEAD = 64
_SHRINKING = 32  # how much smaller the last grid is than the image: twice in the stem, once in each of three stages


@dataclass(frozen=True, slots=True)
class ResNetShape:
    """width: channels behind the stem; blocks: in each of the four stages; image_size: pixels along an edge."""

    width: int
    blocks: tuple[int, int, int, int]
    image_size: int
    dimension: int

    @classmethod
    def of(cls, weights: Weights) -> ResNetShape:
        """Raises NotWeights where these are no weights of such a tower."""
        first, second, third, fourth = (_blocks(weights, stage) for stage in (1, 2, 3, 4))
        return cls(
            width=shape(weights, "visual.layer1.0.conv1.weight", 4)[0],
            blocks=(first, second, third, fourth),
            image_size=_SHRINKING * grid(weights, "visual.attnpool.positional_embedding"),
            dimension=shape(weights, "visual.attnpool.c_proj.weight", 2)[0],
        )


def _blocks(weights: Weights, stage: int) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith(f"visual.layer{stage}.")})


class ResNetTower(nn.Module):
    """Pixels [n, 3, s, s], normalised -> features [n, dimension]."""

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        width = shape.width
        if width < 2 or width * _SHRINKING % _HEAD or min(shape.blocks) < 1:
            raise NotWeights(f"there is no CLIP ResNet {width} wide with {shape.blocks} blocks")
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, shape.blocks[0], stride=1)
        self.layer2 = _stage(width * 4, width * 2, shape.blocks[1], stride=2)
        self.layer3 = _stage(width * 8, width * 4, shape.blocks[2], stride=2)
        self.layer4 = _stage(width * 16, width * 8, shape.blocks[3], stride=2)
        self.attnpool = AttentionPool(shape.image_size // _SHRINKING, width * _SHRINKING, shape.dimension)

    def forward(self, pixels: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(pixels)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = functional.relu(self.bn3(self.conv3(x)))
        x = functional.avg_pool2d(x, 2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features: Tensor = self.attnpool(x)
        return features


class Bottleneck(nn.Module):
    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = inner * _EXPANSION
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        # Named "0" and "1" behind a pooling without weights, as the checkpoints have it.
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != outer:
            self.downsample = nn.Sequential(nn.Conv2d(channels, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.pool(functional.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        kept = x if self.downsample is None else self.downsample(self.pool(x))
        return functional.relu(y + kept)


class AttentionPool(nn.Module):
    """One query, the mean over all places, looks at the mean and every place (Radford et al. 2021, §2.4)."""

    def __init__(self, edge: int, channels: int, dimension: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(edge**2 + 1, channels) / channels**0.5)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, dimension)

    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1) + self.positional_embedding
        attended = functional.scaled_dot_product_attention(
            _in_heads(self.q_proj(tokens[:, :1])), _in_heads(self.k_proj(tokens)), _in_heads(self.v_proj(tokens))
        )
        features: Tensor = self.c_proj(attended.transpose(1, 2).flatten(1))
        return features


def _in_heads(tokens: Tensor) -> Tensor:
    """[n, tokens, channels] -> [n, heads, tokens, head]"""
    count, length, channels = tokens.shape
    return tokens.view(count, length, channels // _HEAD, _HEAD).transpose(1, 2)


def _stage(channels: int, inner: int, count: int, stride: int) -> nn.Sequential:
    later = (Bottleneck(inner * _EXPANSION, inner, stride=1) for _ in range(count - 1))
    return nn.Sequential(Bottleneck(channels, inner, stride), *later)


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
