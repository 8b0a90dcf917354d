"""Backbones that see pictures and know no words: DINOv2 and ResNet. For likeness alone."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel

from clipcore.errors import WordsNotUnderstood
from clipcore.towers.seam import Tokens, Towers


def image_only_towers(model: PreTrainedModel, model_id: str) -> Towers:
    """One tower. Its vector is what each family's authors compare pictures by.

    DINOv2: the class token behind the last layer norm (Oquab et al. 2023; `x_norm_clstoken`, which their published
    models return). ResNet: the last feature map, averaged over all places (He et al. 2015, §3.3).
    """

    def image_features(pixels: Tensor) -> Tensor:
        features: Tensor = model(pixel_values=pixels).pooler_output
        return features.flatten(1)

    def text_features(tokens: Tokens) -> Tensor:
        raise WordsNotUnderstood(model_id)

    return Towers(model, vision=(model,), text=(), image_features=image_features, text_features=text_features)
