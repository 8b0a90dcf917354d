"""CLIP, Chinese CLIP, AltCLIP and dual encoders of any two towers: one shape in transformers, one loss in training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from clipcore.towers.seam import Tokens


class SoftmaxTowers:
    """Two towers, a bias-free projection behind each, and a temperature (Radford et al. 2021, §2.3).

    Where the text is summed up is the family's own: CLIP at the end mark, the others at their first token.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self._model
        return module

    @property
    def vision(self) -> Sequence[nn.Module | nn.Parameter]:
        return self._model.vision_model, self._model.visual_projection

    @property
    def text(self) -> Sequence[nn.Module | nn.Parameter]:
        return self._model.text_model, self._model.text_projection

    @property
    def log_scale(self) -> nn.Parameter | None:
        log_scale: nn.Parameter = self._model.logit_scale
        return log_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        return None

    def image_features(self, pixels: Tensor) -> Tensor:
        # transformers 5 wraps features in an output object, whose pooler_output is the projection.
        features: Tensor = self._model.get_image_features(pixel_values=pixels).pooler_output
        return features

    def text_features(self, tokens: Tokens) -> Tensor:
        features: Tensor = self._model.get_text_features(**tokens).pooler_output
        return features
