"""CLIP, Chinese CLIP, AltCLIP and dual encoders of any two towers: one shape in transformers, one loss in training."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from clipcore.models.first_token import first_token, is_read_off_first
from clipcore.models.towers import Tokens, Towers


def softmax_towers(model: PreTrainedModel) -> Towers:
    """Two towers, a bias-free projection behind each, and a temperature (Radford et al. 2021, §2.3).

    Where the text is summed up is the family's own: CLIP at the end mark, the others at their first token.
    """
    return Towers(
        module=model,
        vision=(model.vision_model, model.visual_projection),
        text=(model.text_model, model.text_projection),
        image_features=partial(_image_features, model),
        text_features=partial(text_features, model),
        log_scale=model.logit_scale,
        quick_image_features=partial(_quick, model) if is_read_off_first(model.vision_model) else None,
    )


def _image_features(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    # transformers 5 wraps features in an output object, whose pooler_output is the projection.
    features: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return features


def _quick(model: PreTrainedModel, pixels: Tensor) -> Tensor:
    features: Tensor = model.visual_projection(first_token(model.vision_model, pixels))
    return features


def text_features(model: PreTrainedModel, tokens: Tokens) -> Tensor:
    features: Tensor = model.get_text_features(**tokens).pooler_output
    return features
