"""Backbones that see pictures and know no words: DINOv2 and ResNet. For likeness alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from clipcore.errors import WordsNotUnderstood
from clipcore.towers.seam import Tokens


class ImageOnlyTowers:
    """One tower. Its vector is what each family's authors compare pictures by.

    DINOv2: the class token behind the last layer norm (Oquab et al. 2023; `x_norm_clstoken`, which their published
    models return). ResNet: the last feature map, averaged over all places (He et al. 2015, §3.3).
    """

    log_scale: nn.Parameter | None = None
    logit_bias: nn.Parameter | None = None

    def __init__(self, model: PreTrainedModel, model_id: str) -> None:
        self._model = model
        self._model_id = model_id

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self._model
        return module

    @property
    def vision(self) -> Sequence[nn.Module | nn.Parameter]:
        return (self.module,)

    @property
    def text(self) -> Sequence[nn.Module | nn.Parameter]:
        return ()

    def image_features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self._model(pixel_values=pixels).pooler_output
        return features.flatten(1)

    def text_features(self, tokens: Tokens) -> Tensor:
        raise WordsNotUnderstood(self._model_id)
