"""CLIP's ResNet: Radford et al. 2021, §2.4, under the names of the original's checkpoints.

Three changes to the ResNet of He et al. (2016). The stem is three 3 x 3 convolutions and an average pool (the "D" of
He et al. 2019). Where a block halves the image it averages before a convolution of stride 1, against aliasing
(Zhang 2019). And the last pooling is one layer of attention, whose query is the mean over all positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipcore.errors import InvalidCheckpoint
from clipcore.files import read_object
from clipcore.models.checkpoint import Checkpoint, copy_processor_files, preprocessing_of
from clipcore.models.clip import TextTransformer, attention, save_network
from clipcore.models.tokenizers import hub_tokenizer
from clipcore.models.towers import Opened, Tokens, Towers
from clipcore.models.weights import Weights, grid, load_exactly, read_weights, weight_shape

MODEL_TYPE = "clip_resnet"

_CHINESE_TEXT = "chinese_clip_text_model"  # transformers' name for Chinese CLIP's BERT
_EXPANSION = 4  # a block's output channels over its inner ones
_HEAD = 64
_REDUCTION = 32  # image size over the size of the last grid: twice 2 in the stem, once 2 in each of three stages


def open_clip_resnet(checkpoint: Checkpoint) -> Opened:
    """What `save_network` wrote. Raises InvalidCheckpoint where it is incomplete."""
    directory = checkpoint.directory
    config = read_object(directory / "config.json")
    network = ResNetClip(config)
    load_exactly(network, read_weights(directory / "model.safetensors"))
    length = int(config["context_length"])
    return Opened(
        network.towers(),
        hub_tokenizer(checkpoint, length),
        preprocessing_of(checkpoint),
        network.text_projection.out_features,
        length,
        save_weights=partial(save_network, network, config),
        save_tokenizer=partial(copy_processor_files, directory),
    )


def resnet_config(weights: Weights, text_config: dict[str, Any], context_length: int) -> dict[str, Any]:
    """text_config: of CLIP's or Chinese CLIP's text tower. Raises InvalidCheckpoint for other weights."""
    vision = {
        "width": weight_shape(weights, "visual.layer1.0.conv1.weight", 4)[0],
        "blocks": [_block_count(weights, stage) for stage in (1, 2, 3, 4)],
        "image_size": _REDUCTION * grid(weights, "visual.attnpool.positional_embedding"),
        "dimension": weight_shape(weights, "visual.attnpool.c_proj.weight", 2)[0],
    }
    return {
        "model_type": MODEL_TYPE,
        "context_length": context_length,
        "vision_config": vision,
        "text_config": text_config,
    }


def _block_count(weights: Weights, stage: int) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith(f"visual.layer{stage}.")})


class ResNetClip(nn.Module):
    """The ResNet beside a text tower: CLIP's own transformer, or Chinese CLIP's BERT. `load_exactly` assigns the
    weights.

    config: as `resnet_config` returns it.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        text = config["text_config"]
        with torch.device("meta"):  # so that no weights are drawn at random first
            self.visual = ResNetTower(**config["vision_config"])
            self.text_projection = nn.Linear(text["hidden_size"], config["vision_config"]["dimension"], bias=False)
            self.logit_scale = nn.Parameter(torch.zeros(()))
        self.text_model = _text_model(text)

    def towers(self) -> Towers:
        return Towers(self, (self.visual,), (self.text_model, self.text_projection), self.visual, self.text_features)

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
    """Pixels [n, 3, s, s], normalised -> features [n, dimension].

    width: channels after the stem; blocks: in each of the four stages; image_size: pixels along an edge.
    """

    def __init__(self, width: int, blocks: Sequence[int], image_size: int, dimension: int) -> None:
        super().__init__()
        if width < 2 or width * _REDUCTION % _HEAD or min(blocks) < 1:
            raise InvalidCheckpoint(f"there is no CLIP ResNet {width} wide with {blocks} blocks")
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks[0], stride=1)
        self.layer2 = _stage(width * 4, width * 2, blocks[1], stride=2)
        self.layer3 = _stage(width * 8, width * 4, blocks[2], stride=2)
        self.layer4 = _stage(width * 16, width * 8, blocks[3], stride=2)
        self.attnpool = AttentionPool(image_size // _REDUCTION, width * _REDUCTION, dimension)

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
        projected = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        features: Tensor = self.c_proj(attention(*projected, self.q_proj.out_features // _HEAD)[:, 0])
        return features


def _stage(channels: int, inner: int, count: int, stride: int) -> nn.Sequential:
    later = (Bottleneck(inner * _EXPANSION, inner, stride=1) for _ in range(count - 1))
    return nn.Sequential(Bottleneck(channels, inner, stride), *later)
