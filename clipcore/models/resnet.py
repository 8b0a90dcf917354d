"""CLIP's ResNet: Radford et al. 2021, §2.4, under the names of the original's checkpoints.

Three changes to the ResNet of He et al. (2016). The stem is three 3 x 3 convolutions and an average pool (the "D" of
He et al. 2019). Where a block halves the image it averages before a convolution of stride 1, against aliasing
(Zhang 2019). And the last pooling is one layer of attention, whose query is the mean over all positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipcore.errors import InvalidCheckpoint
from clipcore.files import read_object
from clipcore.images.preprocess import Preprocessing, write_preprocessing
from clipcore.models.checkpoint import Checkpoint, copy_processor_files, preprocessing_of
from clipcore.models.clip import TextTransformer, save_network
from clipcore.models.tokenizers import hub_tokenizer
from clipcore.models.towers import Opened, Tokenize, Tokens, Towers
from clipcore.models.weights import Weights, grid, load_exactly, read_weights, weight_shape

MODEL_TYPE = "clip_resnet"

_CHINESE_TEXT = "chinese_clip_text_model"  # transformers' name for Chinese CLIP's BERT
_EXPANSION = 4  # a block's output channels over its inner ones
_HEAD = 64
_REDUCTION = 32  # image size over the size of the last grid: twice 2 in the stem, once 2 in each of three stages


def open_clip_resnet(checkpoint: Checkpoint) -> Opened:
    """What `save` wrote. Raises InvalidCheckpoint where it is incomplete."""
    directory = checkpoint.directory
    config = read_object(directory / "config.json")
    vision = config["vision_config"]
    length = int(config["context_length"])
    return open_resnet_network(
        ResNetShape(**{**vision, "blocks": tuple(vision["blocks"])}),
        config["text_config"],
        read_weights(directory / "model.safetensors"),
        hub_tokenizer(checkpoint, length),
        context_length=length,
        preprocessing=preprocessing_of(checkpoint),
        save_tokenizer=partial(copy_processor_files, directory),
    )


def open_resnet_network(
    shape: ResNetShape,
    text_config: dict[str, Any],
    weights: Weights,
    tokenize: Tokenize,
    *,
    context_length: int,
    preprocessing: Preprocessing,
    save_tokenizer: Callable[[Path], None],
) -> Opened:
    """text_config: of CLIP's or Chinese CLIP's text tower. weights: float32, under this layout's names."""
    with torch.device("meta"):  # the weights are assigned, so none are drawn at random first
        visual = ResNetTower(shape)
    _, text_width = weight_shape(weights, "text_projection.weight", 2)
    model = ResNetClip(visual, _text_model(text_config), text_width, shape.dimension)
    load_exactly(model, weights)
    config = {
        "model_type": MODEL_TYPE,
        "context_length": context_length,
        "vision_config": asdict(shape),
        "text_config": text_config,
    }

    def save(target: Path) -> None:
        save_network(model, config, target)
        save_tokenizer(target)
        write_preprocessing(preprocessing, target)

    towers = Towers(
        module=model,
        vision=(model.visual,),
        text=(model.text_model, model.text_projection),
        image_features=model.visual,
        text_features=model.text_features,
        log_scale=model.logit_scale,
    )
    return Opened(towers, tokenize, preprocessing, shape.dimension, context_length, save)


@dataclass(frozen=True, slots=True)
class ResNetShape:
    """width: channels after the stem; blocks: in each of the four stages; image_size: pixels along an edge."""

    width: int
    blocks: tuple[int, int, int, int]
    image_size: int
    dimension: int

    @classmethod
    def of(cls, weights: Weights) -> ResNetShape:
        """Raises InvalidCheckpoint where these are no weights of such a tower."""
        first, second, third, fourth = (_blocks(weights, stage) for stage in (1, 2, 3, 4))
        return cls(
            width=weight_shape(weights, "visual.layer1.0.conv1.weight", 4)[0],
            blocks=(first, second, third, fourth),
            image_size=_REDUCTION * grid(weights, "visual.attnpool.positional_embedding"),
            dimension=weight_shape(weights, "visual.attnpool.c_proj.weight", 2)[0],
        )


def _blocks(weights: Weights, stage: int) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith(f"visual.layer{stage}.")})


class ResNetClip(nn.Module):
    """The ResNet beside a text tower: CLIP's own transformer, or Chinese CLIP's BERT."""

    def __init__(self, visual: ResNetTower, text_model: nn.Module, text_width: int, dimension: int) -> None:
        super().__init__()
        self.visual = visual
        self.text_model = text_model
        self.text_projection = nn.Linear(text_width, dimension, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def text_features(self, tokens: Tokens) -> Tensor:
        output = self.text_model(**tokens)
        # Chinese CLIP reads its BERT at the first token.
        pooled = output if isinstance(output, Tensor) else output.last_hidden_state[:, 0]
        features: Tensor = self.text_projection(pooled)
        return features


def _text_model(config: dict[str, Any]) -> nn.Module:
    if config.get("model_type") != _CHINESE_TEXT:
        with torch.device("meta"):
            return TextTransformer(config)
    from transformers import ChineseCLIPTextConfig, ChineseCLIPTextModel

    bert: nn.Module = ChineseCLIPTextModel(ChineseCLIPTextConfig(**config), add_pooling_layer=False)
    return bert


class ResNetTower(nn.Module):
    """Pixels [n, 3, s, s], normalised -> features [n, dimension]."""

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        width = shape.width
        if width < 2 or width * _REDUCTION % _HEAD or min(shape.blocks) < 1:
            raise InvalidCheckpoint(f"there is no CLIP ResNet {width} wide with {shape.blocks} blocks")
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
        self.attnpool = AttentionPool(shape.image_size // _REDUCTION, width * _REDUCTION, shape.dimension)

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
        # Named "0" and "1" after a pooling without weights, as in the checkpoints.
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
    """One query, the mean over all positions, attends to the mean and to every position (Radford et al. 2021, §2.4)."""

    def __init__(self, edge: int, channels: int, dimension: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(edge**2 + 1, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, dimension)

    def forward(self, x: Tensor) -> Tensor:
        positions = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([positions.mean(dim=1, keepdim=True), positions], dim=1) + self.positional_embedding
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
