"""Towers whose forward passes torch has compiled for the device: slow to start, faster from then on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clipcore.towers.seam import Tokens, Towers


class CompiledTowers:
    """The same weights and the same parts. The first call compiles; another number of pictures or tokens, once more."""

    def __init__(self, towers: Towers) -> None:
        self._towers = towers
        self._image_features = torch.compile(towers.image_features)
        self._text_features = torch.compile(towers.text_features)

    @property
    def module(self) -> nn.Module:
        return self._towers.module

    @property
    def vision(self) -> Sequence[nn.Module | nn.Parameter]:
        return self._towers.vision

    @property
    def text(self) -> Sequence[nn.Module | nn.Parameter]:
        return self._towers.text

    @property
    def log_scale(self) -> nn.Parameter | None:
        return self._towers.log_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        return self._towers.logit_bias

    def image_features(self, pixels: Tensor) -> Tensor:
        return self._image_features(pixels)

    def text_features(self, tokens: Tokens) -> Tensor:
        return self._text_features(tokens)
