"""Backbones that see pictures and know no words: DINOv2 and ResNet. For likeness alone."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from clipcore.errors import WordsNotUnderstood
from clipcore.towers.seam import Tokens, Towers


def image_only_towers(model: PreTrainedModel, model_id: str) -> Towers:
    """One tower. Its vector is what each family's authors compare pictures by.

    DINOv2: the class token behind the last layer norm (Oquab et al. 2023; `x_norm_clstoken`, which their published
    models return). ResNet: the last feature map, averaged over all places (He et al. 2015, §3.3).
    """
    return Towers(
        module=model,
        vision=(model,),
        text=(),
        image_features=partial(_image_features, model),
        text_features=partial(_no_text_features, model_id),
    )


def _image_features(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    features: Tensor = model(pixel_values=pixels).pooler_output
    return features.flatten(1)


def _no_text_features(model_id: str, tokens: Tokens) -> Tensor:
    raise WordsNotUnderstood(model_id)
