"""CLIP's ResNet: Radford et al. 2021, §2.4, under the names of the original's checkpoints.

Three changes to the ResNet of He et al. (2016). The stem is three 3 x 3 convolutions and an average pool (the "D" of
He et al. 2019). Where a block halves the image it averages before a convolution of stride 1, against aliasing
(Zhang 2019). And the last pooling is one layer of attention, whose query is the mean over all positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipcore.errors import InvalidCheckpoint
from clipcore.models.transformer import attention

_EXPANSION = 4  # a block's output channels over its inner ones
_HEAD = 64
REDUCTION = 32  # image size over the size of the last grid: twice 2 in the stem, once 2 in each of three stages


class ResNetTower(nn.Module):
    """Pixels [n, 3, s, s], normalised -> features [n, dimension].

    width: channels after the stem; blocks: in each of the four stages; image_size: pixels along an edge.
    """

    def __init__(self, width: int, blocks: Sequence[int], image_size: int, dimension: int) -> None:
        super().__init__()
        if width < 2 or width * REDUCTION % _HEAD or min(blocks) < 1:
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
        self.attnpool = AttentionPool(image_size // REDUCTION, width * REDUCTION, dimension)

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
